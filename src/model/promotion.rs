//! What a release needs beside health before it comes to an environment: approvals, times in which nothing moves, and who let it through.

use super::{Digest, Millis, Name, Release, VersionNumber, WallMs};
use cronexpr::{Crontab, parse_crontab};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[groups]` in `trimtab.toml`: addresses by the name of a group.
pub type Groups = BTreeMap<Name, Vec<String>>;

/// Whether `approve` names this address, itself or by a group.
pub fn may_approve(approve: &[String], groups: &Groups, email: &str) -> bool {
    approve.iter().any(|who| match who.strip_prefix('@') {
        Some(group) => groups.get(group).is_some_and(|all| all.iter().any(|one| one.eq_ignore_ascii_case(email))),
        None => who.eq_ignore_ascii_case(email),
    })
}

/// `approvals/MODEL/ENVIRONMENT/FINGERPRINT.toml`: somebody wants this content there. Who, its commit says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub model: Name,
    pub environment: Name,
    pub fingerprint: Digest,
    /// What the fingerprint was called when it was approved; for people.
    pub version: Option<VersionNumber>,
    pub comment: Option<String>,
}

/// A release that a person let through before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub release: Release,
    pub reason: String,
    /// Who asked for it, as far as the daemon can tell.
    pub by: String,
    pub at: WallMs,
}

/// A time that comes again and again in which no traffic moves to a new release. Its begin and its length are read on the clock of the
/// wall, so that it ends at the same time of day whatever the clocks do meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeSpec {
    /// A cron expression of five fields.
    pub start: String,
    pub duration: Millis,
    /// A name of the IANA database, such as `Europe/Berlin`.
    pub zone: String,
    pub why: Option<String>,
}

/// Most that clocks are put forward or back at once, in hours.
const SHIFT: i64 = 3;

impl FreezeSpec {
    /// A cron expression that has a next time. `Err` says what is wrong.
    pub fn check_start(start: &str) -> Result<(), String> {
        let cron = cron(start)?;
        cron.find_next(Timestamp::UNIX_EPOCH).map(drop).map_err(|_| "this never comes".into())
    }

    /// The name of a time zone. `Err` says what is wrong.
    pub fn check_zone(zone: &str) -> Result<(), String> {
        let wrong = || "write a name of the IANA time zone database, such as \"Europe/Berlin\" or \"UTC\"".to_owned();
        TimeZone::get(zone).map(drop).map_err(|_| wrong())
    }

    /// Whether it would begin again before it ended, which can be said in a simpler way.
    pub fn overlaps_itself(&self) -> bool {
        /// Begins that are looked at.
        const SEEN: usize = 200;
        let Ok(begins) = cron(&self.start).and_then(|c| c.iter_after(Timestamp::UNIX_EPOCH).map_err(|e| e.to_string()))
        else {
            return false;
        };
        let begins: Vec<Timestamp> = begins.take(SEEN).filter_map(|b| b.ok().map(|b| b.timestamp())).collect();
        begins.windows(2).any(|w| w[1].duration_since(w[0]) < self.length())
    }

    /// When the window that this instant lies in is over. What cannot be read, which a checked spec never is, freezes nothing.
    pub fn until(&self, at: WallMs) -> Option<WallMs> {
        let zone = TimeZone::get(&self.zone).ok()?;
        let at = Timestamp::from_millisecond(at.0).ok()?;
        let clock = zone.to_datetime(at);
        let shift = SignedDuration::from_hours(SHIFT);
        let earliest = clock.checked_sub(self.length()).and_then(|t| t.checked_sub(shift)).ok()?;
        let latest = clock.checked_add(shift).ok()?;
        // Cron and length are counted on the clock of the wall, as if it were that of UTC; only then it is asked which instants those are.
        let begins = cron(&self.start).ok()?.iter_after(as_utc(earliest)?).ok()?;
        let begins = begins.map_while(|b| b.ok().map(|b| b.datetime())).take_while(|b| *b <= latest);
        let window = |begin: DateTime| {
            let end = begin.checked_add(self.length()).ok()?;
            // An hour that comes twice belongs to the window as a whole.
            let begin = zone.to_ambiguous_timestamp(begin).compatible().ok()?;
            let end = zone.to_ambiguous_timestamp(end).later().ok()?;
            (begin <= at && at < end).then_some(WallMs(end.as_millisecond()))
        };
        begins.filter_map(window).max()
    }

    fn length(&self) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(self.duration.0).unwrap_or(i64::MAX))
    }

    /// For people: why, or which it is.
    pub fn words(&self) -> String {
        self.why.clone().unwrap_or_else(|| format!("the window of \"{}\"", self.start))
    }
}

fn cron(start: &str) -> Result<Crontab, String> {
    let usage = "write minute, hour, day of the month, month and day of the week, such as \"0 16 * * FRI\"";
    parse_crontab(&format!("{start} UTC")).map_err(|_| usage.into())
}

fn as_utc(clock: DateTime) -> Option<Timestamp> {
    clock.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(start: &str, hours: u64, zone: &str) -> FreezeSpec {
        FreezeSpec { start: start.into(), duration: Millis(hours * 3_600_000), zone: zone.into(), why: None }
    }

    fn at(text: &str) -> WallMs {
        WallMs(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn frozen(window: &FreezeSpec, when: &str) -> Option<String> {
        window.until(at(when)).map(|w| Timestamp::from_millisecond(w.0).unwrap().to_string())
    }

    #[test]
    fn a_window_ends_at_its_time_of_day_also_when_clocks_are_put_forward_or_back() {
        let weekend = window("0 16 * * FRI", 64, "Europe/Berlin");
        for (when, until) in [
            // Winter: an hour before UTC.
            ("2026-11-27T14:59:59Z", None),
            ("2026-11-27T15:00:00Z", Some("2026-11-30T07:00:00Z")),
            ("2026-11-30T06:59:59Z", Some("2026-11-30T07:00:00Z")),
            ("2026-11-30T07:00:00Z", None),
            // Clocks go forward on the Sunday of this one, which takes 63 hours.
            ("2026-03-27T15:00:00Z", Some("2026-03-30T06:00:00Z")),
            ("2026-03-30T06:00:00Z", None),
            // And back on this one: 65 hours.
            ("2026-10-23T14:00:00Z", Some("2026-10-26T07:00:00Z")),
            ("2026-10-26T06:30:00Z", Some("2026-10-26T07:00:00Z")),
            ("2026-10-26T07:00:00Z", None),
        ] {
            assert_eq!(frozen(&weekend, when).as_deref(), until, "{when}");
        }
    }

    #[test]
    fn times_of_day_that_do_not_come_or_come_twice() {
        // On 2026-03-29 in Berlin 02:00 to 03:00 does not come: the window begins an hour later by the name, not at all never.
        let night = window("30 2 * * *", 1, "Europe/Berlin");
        assert_eq!(frozen(&night, "2026-03-29T01:29:59Z"), None);
        assert_eq!(frozen(&night, "2026-03-29T01:30:00Z"), None, "its end, 03:30, is the instant of its begin");
        let night = window("30 2 * * *", 2, "Europe/Berlin");
        assert_eq!(frozen(&night, "2026-03-29T01:30:00Z").as_deref(), Some("2026-03-29T02:30:00Z"));
        // On 2026-10-25 02:00 to 03:00 comes twice: both are in it.
        let night = window("0 2 * * *", 1, "Europe/Berlin");
        assert_eq!(frozen(&night, "2026-10-24T23:59:59Z"), None);
        for when in ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"] {
            assert!(frozen(&night, when).is_some(), "{when}");
        }
        assert_eq!(frozen(&night, "2026-10-25T02:00:00Z"), None);
    }

    #[test]
    fn a_window_over_the_turn_of_the_year_needs_no_year() {
        let holidays = window("0 0 20 12 *", 14 * 24, "America/New_York");
        assert_eq!(frozen(&holidays, "2026-12-20T04:59:00Z"), None);
        assert_eq!(frozen(&holidays, "2027-01-01T00:00:00Z").as_deref(), Some("2027-01-03T05:00:00Z"));
        assert_eq!(frozen(&holidays, "2030-06-01T00:00:00Z"), None);
    }

    #[test]
    fn what_is_no_window_is_said() {
        assert!(FreezeSpec::check_start("0 16 * *").unwrap_err().contains("day of the week"));
        assert!(FreezeSpec::check_start("0 16 * * FRI Europe/Berlin").is_err());
        assert_eq!(FreezeSpec::check_start("0 0 30 2 *"), Err("this never comes".into()));
        assert!(FreezeSpec::check_zone("Europe/Berlun").unwrap_err().contains("IANA"));
        assert!(window("0 16 * * *", 25, "UTC").overlaps_itself());
        assert!(!window("0 16 * * *", 24, "UTC").overlaps_itself());
    }

    #[test]
    fn a_person_may_approve_by_address_or_by_group() {
        let groups = Groups::from([(Name::new("risk").unwrap(), vec!["ada@example.com".into()])]);
        let may = |approve: &[&str], email| {
            may_approve(&approve.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), &groups, email)
        };
        assert!(may(&["@risk"], "Ada@Example.com") && may(&["bob@example.com", "@risk"], "bob@example.com"));
        assert!(!may(&["@risk"], "bob@example.com") && !may(&["@other"], "ada@example.com") && !may(&[], ""));
    }

    proptest! {
        /// Minute by minute: an instant is in the window when the clock of the wall, found by jiff, says so. Days on which clocks move are
        /// left to the tables above.
        #[test]
        fn windows_are_what_the_clock_of_the_wall_says(
            hour in 0i8..24, minute in 0i8..60, hours in 1u64..24, days in 0i64..700, of_day in 0i64..1440,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe"]),
        ) {
            let w = window(&format!("{minute} {hour} * * *"), hours, zone);
            let tz = TimeZone::get(zone).unwrap();
            let at = Timestamp::from_second(1_767_225_600 + days * 86_400 + of_day * 60).unwrap();
            let around = [-36, 36].map(|h| tz.to_offset(at + SignedDuration::from_hours(h)));
            prop_assume!(around[0] == around[1]);
            let clock = tz.to_datetime(at);
            let since = (i64::from(clock.hour()) - i64::from(hour)) * 60 + i64::from(clock.minute()) - i64::from(minute);
            let inside = since.rem_euclid(1440) < hours as i64 * 60;
            let until = w.until(WallMs(at.as_millisecond()));
            prop_assert_eq!(until.is_some(), inside);
            let left = hours as i64 * 60 - since.rem_euclid(1440);
            let second = i64::from(clock.second());
            prop_assert_eq!(until, inside.then_some(WallMs(at.as_millisecond() + (left * 60 - second) * 1000)));
        }
    }
}
