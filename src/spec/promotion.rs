//! What promotions ask for: `approve`, `freeze`, `[groups]`, and the files below `approvals/`.

use super::{
    decode::{File, Read, Table},
    load::{SCHEMA, join},
    others::whole,
    units::duration,
};
use crate::model::*;

/// An address as commits have it.
fn address(text: &str) -> bool {
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>".contains(c));
    plain && text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
}

/// `approve`: addresses and `@groups`.
pub(super) fn approve(t: &mut Table) -> Vec<String> {
    let all = t.texts("approve").unwrap_or_default();
    let good = |who: &String| who.strip_prefix('@').map_or(address(who), |group| Name::new(group).is_ok());
    if t.has("approve") && all.is_empty() {
        t.error_at("approve", "nobody is named who may approve".into(), "leave it out, or name somebody".into());
    }
    if let Some(bad) = all.iter().find(|who| !good(who)) {
        let label = "write addresses, and groups of trimtab.toml as \"@risk-team\"".into();
        t.error_at("approve", format!("`{bad}` is nobody who could approve"), label);
    }
    all
}

/// `[groups]`: addresses by the name of the group.
pub(super) fn groups(t: &mut Table) -> Groups {
    let mut out = Groups::new();
    for (key, all) in t.named_texts() {
        let name = t.checked_key(&key, |k| Name::new(k).map_err(|e| e.to_string()));
        if let Some(bad) = all.iter().find(|who| !address(who)) {
            t.error_at(&key, format!("`{bad}` is no address"), "write addresses as commits have them".into());
        }
        out.extend(name.map(|name| (name, all)));
    }
    out
}

/// The groups that have other members, as `approve` names them.
pub(super) fn other_groups<'a>(before: &'a Groups, now: &'a Groups) -> impl Iterator<Item = String> + 'a {
    let names = before.keys().chain(now.keys());
    names.filter(|name| before.get(*name) != now.get(*name)).map(|name| format!("@{name}"))
}

/// `freeze`: times in which no traffic moves to a new release.
pub(super) fn freeze(t: &mut Table) -> Vec<FreezeSpec> {
    t.tables("freeze").into_iter().filter_map(window).collect()
}

fn window(mut t: Table) -> Option<FreezeSpec> {
    /// Ten weeks are no window any more, but a decision.
    const LONGEST: Millis = Millis(70 * 86_400_000);
    for key in ["start", "duration", "zone"].into_iter().filter(|key| !t.has(key)) {
        let example = "{ start = \"0 16 * * FRI\", duration = \"64h\", zone = \"Europe/Berlin\" }";
        t.error(format!("missing key `{key}`: a window is such as {example}"));
    }
    let start = t.parsed("start", |s| FreezeSpec::check_start(s).map(|()| s.to_owned()));
    let length = t.parsed("duration", |s| match duration(s)? {
        Millis(0) => Err("write more than 0".to_owned()),
        d if d > LONGEST => Err("at most 70d; to stop a model for longer, `trimtab suspend` it".into()),
        d => Ok(d),
    });
    let zone = t.parsed("zone", |s| FreezeSpec::check_zone(s).map(|()| s.to_owned()));
    let why = t.text("why");
    let window = start.zip(length).zip(zone).map(|((start, duration), zone)| FreezeSpec { start, duration, zone, why });
    if window.as_ref().is_some_and(FreezeSpec::overlaps_itself) {
        let label = "it would begin again before it ended: write the range as a whole".into();
        t.error_at("duration", "the window overlaps itself".into(), label);
    }
    t.finish();
    window
}

/// Where the approval of a content for an environment lies, below the folder of all specs.
pub fn approval_file(folder: &str, model: &Name, environment: &Name, fingerprint: &Digest) -> String {
    join(folder, &format!("approvals/{model}/{environment}/{}.toml", fingerprint.hex()))
}

/// The text of an approval; `by` tells readers of the tree who gave it.
pub fn approval_text(approval: &Approval, by: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned());
    let mut out = format!("schema = \"{SCHEMA}\"\n\n[approval]\n");
    out.push_str(&format!("model = \"{}\"\nenvironment = \"{}\"\n", approval.model, approval.environment));
    out.extend(approval.version.map(|v| format!("version = \"{v}\"\n")));
    out.push_str(&format!("fingerprint = \"{}\"\nby = {}\n", approval.fingerprint, quoted(by)));
    out.extend(approval.comment.as_ref().map(|c| format!("comment = {}\n", quoted(c))));
    out
}

/// `approvals/MODEL/ENVIRONMENT/FINGERPRINT.toml`. The place must be what the file says, so that it is found by it.
pub(super) fn approval(path: &str, bytes: &[u8]) -> Read<Approval> {
    whole(File::read(path, bytes, SCHEMA, |root| {
        let Some(mut t) = root.table("approval") else {
            root.error("missing table `[approval]` with `model`, `environment` and `fingerprint`".into());
            return None;
        };
        for key in ["model", "environment", "fingerprint"].into_iter().filter(|key| !t.has(key)) {
            t.error(format!("missing key `{key}`: `trimtab approve` writes such files"));
        }
        let (model, environment) = (t.name("model"), t.name("environment"));
        let fingerprint = t.parsed("fingerprint", |s| Digest::try_from(s.to_owned()).map_err(|e| e.to_string()));
        let version = t.parsed("version", |s| {
            let number = s.strip_prefix('v').unwrap_or(s).parse().map(VersionNumber);
            number.map_err(|_| "write a version such as \"v7\"".to_owned())
        });
        let comment = t.text("comment");
        // Who gave it, the commit says.
        t.text("by");
        let read = model.zip(environment).zip(fingerprint);
        if let Some(((model, environment), fingerprint)) = &read {
            let place = approval_file("", model, environment, fingerprint);
            if path != place && !path.ends_with(&format!("/{place}")) {
                t.error(format!("an approval of this content lies at `{place}`"));
            }
        }
        t.finish();
        let ((model, environment), fingerprint) = read?;
        Some(Approval { model, environment, fingerprint, version, comment })
    }))
}
