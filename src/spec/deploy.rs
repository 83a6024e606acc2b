//! `[[deploy]]`: how a version comes to each environment of a chain.

use super::{analysis, decode::Table, promotion, units::duration};
use crate::model::*;

/// Names of header fields and cookies are tokens (RFC 9110, 5.6.2).
fn token(text: &str) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (!text.is_empty() && text.chars().all(good)).then(|| text.to_owned())
}

/// All `[[deploy]]` tables in order.
pub(super) fn chain(root: &mut Table) -> Vec<DeploySpec> {
    let all: Vec<Option<DeploySpec>> = root.tables("deploy").into_iter().map(one).collect();
    check(root, &all);
    all.into_iter().flatten().collect()
}

fn one(mut t: Table) -> Option<DeploySpec> {
    let environment = if t.has("environment") { t.name("environment") } else { t.required("environment").and(None) };
    let after = t.name("after");
    let soak = t.parsed("soak", duration);
    if t.has("soak") && !t.has("after") {
        let label = "name the environment in which it has to prove itself".into();
        t.error_at("soak", "`soak` needs `after`".into(), label);
    }
    let approve = promotion::approve(&mut t);
    let freeze = promotion::freeze(&mut t);
    let strategy = strategy(&mut t);
    let (analysis, uses) = analysis::of_deploy(&mut t);
    if matches!(strategy, Strategy::AtOnce | Strategy::Recreate) && !(analysis.is_empty() && uses.is_empty()) {
        let message =
            format!("strategy \"{}\" has no step in which anything could be measured", strategy.kind().word());
        t.error_at("analysis", message, "choose canary, blue_green, shadow or experiment".into());
    }
    check_names(&t, &strategy, &analysis, &uses);
    let deadline = t.parsed("deadline", duration).unwrap_or(DEFAULT_DEADLINE);
    let keep_warm = t.parsed("keep_warm", duration);
    let sticky = t.parsed("sticky", |s| {
        let usage = || "write \"header:NAME\" or \"cookie:NAME\", such as \"header:x-user\"".to_owned();
        let (by, name) = s.split_once(':').ok_or_else(usage)?;
        let name = token(name).ok_or_else(usage)?;
        match by {
            "header" => Ok(Sticky::Header(name.to_ascii_lowercase())),
            "cookie" => Ok(Sticky::Cookie(name)),
            _ => Err(usage()),
        }
    });
    let forced = t.flag("forced").unwrap_or_default();
    let limit = t.table("limit").and_then(limit);
    let timeout = t.parsed("timeout", |s| match duration(s)? {
        Millis(0) => Err("no replica answers in no time".into()),
        timeout => Ok(timeout),
    });
    let on_failure = t.parsed("on_failure", |s| match s {
        "hold" => Ok(OnFailure::Hold),
        "revert" => Ok(OnFailure::Revert),
        _ => Err("write \"hold\" or \"revert\"".into()),
    });
    t.finish();
    let on_failure = on_failure.unwrap_or_default();
    let environment = environment?;
    Some(DeploySpec {
        environment,
        after,
        soak,
        approve,
        freeze,
        strategy,
        analysis,
        uses,
        deadline,
        keep_warm,
        sticky,
        forced,
        limit,
        timeout,
        on_failure,
    })
}

/// Requests that are worked on and that wait.
fn limit(mut t: Table) -> Option<RequestLimit> {
    const MOST: u64 = 1 << 20;
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let concurrent = t.whole("concurrent", 1, MOST).map(small);
    if !t.has("concurrent") {
        t.error("`limit` needs `concurrent`, how many requests are worked on at a time".into());
    }
    let queue = t.whole("queue", 0, MOST).map(small);
    t.finish();
    // As many wait as are worked on, where nobody says.
    concurrent.map(|concurrent| RequestLimit { concurrent, queue: queue.unwrap_or(concurrent) })
}

/// Keys that belong to some strategies only.
const KEYS: [(&str, &[StrategyKind]); 6] = [
    ("steps", &[StrategyKind::Canary, StrategyKind::Shadow]),
    ("hold", &[StrategyKind::BlueGreen, StrategyKind::Shadow, StrategyKind::Experiment]),
    ("gate", &[StrategyKind::BlueGreen, StrategyKind::Shadow, StrategyKind::Experiment]),
    ("share", &[StrategyKind::Shadow]),
    ("tolerance", &[StrategyKind::Shadow]),
    ("weight", &[StrategyKind::Experiment]),
];

fn strategy(t: &mut Table) -> Strategy {
    use StrategyKind::{AtOnce, BlueGreen, Canary, Experiment, Recreate, Shadow};
    const ALL: [StrategyKind; 6] = [AtOnce, Canary, BlueGreen, Shadow, Recreate, Experiment];
    let words = ALL.map(|k| format!("\"{}\"", k.word())).join(", ");
    let kind = t.parsed("strategy", |s| {
        ALL.into_iter().find(|k| k.word() == s).ok_or_else(|| format!("the strategies are {words}"))
    });
    let known = kind.is_some() || !t.has("strategy");
    let kind = kind.unwrap_or(AtOnce);
    for (key, of) in KEYS.iter().filter(|(key, of)| known && t.has(key) && !of.contains(&kind)) {
        let of: Vec<String> = of.iter().map(|k| format!("\"{}\"", k.word())).collect();
        let message = format!("`{key}` belongs to strategy = {}", of.join(" or "));
        t.error_at(key, message, format!("with \"{}\" it means nothing", kind.word()));
    }
    let steps = steps(t);
    let hold = t.parsed("hold", duration);
    let gate = gate(t);
    let share = percent(t, "share").unwrap_or(100.0);
    let tolerance = t.number("tolerance").unwrap_or(1e-6);
    if tolerance < 0.0 {
        t.error_at("tolerance", "`tolerance` is negative".into(), "write 0 or more".into());
    }
    let weight = percent(t, "weight");
    let needs_hold = |t: &Table, what: &str| {
        if !t.has("hold") && !gate {
            t.error(format!("{what} needs `hold`, such as \"30m\", or `gate = \"manual\"`"));
        }
    };
    let hold = hold.unwrap_or(Millis(0));
    match kind {
        AtOnce => Strategy::AtOnce,
        Recreate => Strategy::Recreate,
        Canary => {
            if steps.is_empty() && t.tables("steps").is_empty() {
                t.error("a canary needs `steps`, such as [{ weight = 10, hold = \"5m\" }]".into());
            }
            Strategy::Canary { steps }
        }
        BlueGreen => Strategy::BlueGreen { hold, gate },
        Shadow => {
            needs_hold(t, "a shadow");
            Strategy::Shadow { share, hold, gate, tolerance, steps }
        }
        Experiment => {
            needs_hold(t, "an experiment");
            let weight = weight.unwrap_or(5.0);
            if weight > 50.0 {
                let message = "two releases cannot have more than half of the traffic each".into();
                t.error_at("weight", message, "at most 50".into());
            }
            Strategy::Experiment { weight, hold, gate }
        }
    }
}

fn gate(t: &mut Table) -> bool {
    let word = |s: &str| if s == "manual" { Ok(()) } else { Err("write \"manual\"".to_owned()) };
    t.parsed("gate", word).is_some()
}

/// More than 0 and at most 100, to a thousandth.
fn percent(t: &mut Table, key: &'static str) -> Option<f64> {
    let share = t.number(key)?;
    let good = share > 0.0 && share <= 100.0;
    if !good {
        t.error_at(key, format!("`{key}` must be above 0 and at most 100"), "percent of the traffic".into());
    } else if share < 0.001 {
        t.error_at(key, format!("`{key}` is finer than traffic is split"), "at least 0.001 percent".into());
    }
    good.then_some(share)
}

fn steps(t: &mut Table) -> Vec<StepSpec> {
    let steps: Vec<StepSpec> = t.tables("steps").into_iter().filter_map(step).collect();
    if steps.windows(2).any(|w| w[0].weight > w[1].weight) {
        t.error_at("steps", "the weights of the steps must not fall".into(), "order them".into());
    }
    steps
}

fn step(mut t: Table) -> Option<StepSpec> {
    let weight = percent(&mut t, "weight");
    if !t.has("weight") {
        t.error("a step needs `weight`, percent of the traffic".into());
    }
    let hold = t.parsed("hold", duration);
    let gate = gate(&mut t);
    let analysis = t.texts("analysis").unwrap_or_default();
    if !t.has("hold") && !gate && analysis.is_empty() {
        t.error("a step needs `hold`, such as \"5m\", `gate = \"manual\"` or `analysis`".into());
    }
    let hold = if t.has("hold") { hold } else { Some(Millis(0)) };
    t.finish();
    Some(StepSpec { gate, analysis, ..StepSpec::new(weight?, hold?) })
}

/// Steps name analyses that are there; those of shared files are checked once these are read.
fn check_names(t: &Table, strategy: &Strategy, analysis: &[AnalysisSpec], uses: &[Name]) {
    for name in strategy.steps().iter().flat_map(|s| &s.analysis) {
        if uses.is_empty() && !analysis.iter().any(|a| a.name == *name) {
            let there: Vec<&str> = analysis.iter().map(|a| a.name.as_str()).collect();
            let help = if there.is_empty() {
                "add a [[deploy.analysis]]".to_owned()
            } else {
                format!("there are: {}", there.join(", "))
            };
            t.error_at("steps", format!("a step asks for analysis `{name}`, which is not there"), help);
        }
    }
}

/// Environments once each; `after` names one that stands before.
fn check(root: &Table, deploy: &[Option<DeploySpec>]) {
    for (i, d) in deploy.iter().enumerate() {
        let Some(d) = d else { continue };
        let before = || deploy[..i].iter().flatten();
        if before().any(|other| other.environment == d.environment) {
            let message = format!("environment `{}` is deployed to twice", d.environment);
            root.error_in(&format!("deploy.{i}.environment"), message, "keep one".into());
        }
        // One that cannot be read may be the one that is meant.
        let unread = deploy[..i].iter().any(Option::is_none);
        if let Some(after) = &d.after
            && !unread
            && !before().any(|other| other.environment == *after)
        {
            let message = format!("`{}` comes after `{after}`, which does not stand before it", d.environment);
            let label = "order the [[deploy]] tables; a circle is refused".into();
            root.error_in(&format!("deploy.{i}.after"), message, label);
        }
    }
}
