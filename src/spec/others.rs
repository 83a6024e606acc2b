//! Datasets, environments and the repo's settings.

use super::{
    decode::{Extra, File, Table},
    load::SCHEMA,
    paths, promotion,
    units::duration,
};
use crate::model::*;

pub(super) type Parsed<T> = Result<(T, Extra), Vec<Diagnostic>>;

pub(super) fn whole<T>(read: Parsed<Option<T>>) -> Parsed<T> {
    read.and_then(|(value, extra)| match value {
        Some(value) => Ok((value, extra)),
        None => Err(extra.warnings),
    })
}

/// `datasets/NAME.toml`.
pub fn dataset(path: &str, bytes: &[u8]) -> Parsed<DatasetSpec> {
    whole(File::read(path, bytes, SCHEMA, |root| {
        let Some(mut head) = root.table("dataset") else {
            root.error("missing table `[dataset]` with a `name`".into());
            return None;
        };
        let name = name(&mut head, path);
        let (owner, description) = (head.text("owner"), head.text("description"));
        head.finish();
        let Some(mut source) = root.table("source") else {
            root.error("missing table `[source]` with `path` or `url`".into());
            return None;
        };
        let at = source.parsed("path", paths::relative).map(DataSource::Path);
        let url = source.parsed("url", paths::url).map(DataSource::Url);
        if source.has("path") == source.has("url") {
            source.error("a source has either `path` or `url`".into());
        }
        source.finish();
        Some(DatasetSpec { name: name?, owner, description, source: at.or(url)? })
    }))
}

/// The name must be the file's, so that a reference leads to its file.
pub(super) fn name(t: &mut Table, path: &str) -> Option<Name> {
    let name = if t.has("name") { t.name("name") } else { t.required("name").and(None) };
    let stem = path.rsplit('/').next().and_then(|f| f.strip_suffix(".toml")).unwrap_or_default();
    if let Some(n) = &name
        && n.as_str() != stem
    {
        t.error_at("name", format!("`{n}` stands in a file called `{stem}.toml`"), "give both the same name".into());
    }
    name
}

/// `environments/NAME.toml`.
pub fn environment(path: &str, bytes: &[u8]) -> Parsed<EnvironmentSpec> {
    whole(File::read(path, bytes, SCHEMA, |root| {
        let Some(mut t) = root.table("environment") else {
            root.error("missing table `[environment]` with a `name`".into());
            return None;
        };
        let name = name(&mut t, path);
        let description = t.text("description");
        let target = t.parsed("target", |s| match s {
            "local" => Name::new(s).map_err(|e| e.to_string()),
            _ => Err("this version has the target \"local\"".into()),
        });
        let target = if t.has("target") { target } else { Name::new("local").ok() };
        let rollback_at_once = t.flag("rollback_at_once").unwrap_or(true);
        let keep_warm = t.parsed("keep_warm", duration).unwrap_or(Millis(600_000));
        let freeze = promotion::freeze(&mut t);
        t.finish();
        Some(EnvironmentSpec { name: name?, description, target: target?, rollback_at_once, keep_warm, freeze })
    }))
}

/// `trimtab.toml`.
pub fn settings(path: &str, bytes: &[u8]) -> Parsed<Settings> {
    File::read(path, bytes, SCHEMA, |root| {
        let mut s = Settings::default();
        if let Some(mut t) = root.table("source") {
            s.allow_rewrite = t.flag("allow_rewrite").unwrap_or(s.allow_rewrite);
            t.finish();
        }
        if let Some(mut t) = root.table("bot") {
            let plain = |v: &str| {
                if v.is_empty() || v.chars().any(|c| c.is_control() || "<>".contains(c)) {
                    Err("write plain text without < and >".to_owned())
                } else {
                    Ok(v.to_owned())
                }
            };
            s.push = t.flag("push").unwrap_or(s.push);
            s.bot_name = t.parsed("name", plain).unwrap_or(s.bot_name);
            s.bot_email = t.parsed("email", plain).unwrap_or(s.bot_email);
            t.finish();
        }
        if let Some(mut t) = root.table("reconcile") {
            s.max_concurrent_training =
                t.whole("max_concurrent_training", 1, 1000).map_or(s.max_concurrent_training, |n| n as usize);
            let share = t.number("prune_share");
            if share.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
                t.error_at(
                    "prune_share",
                    "`prune_share` must be from 0 to 1".into(),
                    "the share of models that one commit may retire".into(),
                );
            }
            s.prune_share = share.unwrap_or(s.prune_share);
            t.finish();
        }
        if let Some(mut t) = root.table("groups") {
            s.groups = promotion::groups(&mut t);
        }
        if let Some(mut t) = root.table("gc") {
            s.gc.keep = t.parsed("keep", duration).unwrap_or(s.gc.keep);
            let mut count = |key, to: &mut usize| *to = t.whole(key, 0, 1_000_000).map_or(*to, |n| n as usize);
            count("versions", &mut s.gc.versions);
            count("runs", &mut s.gc.runs);
            count("snapshots", &mut s.gc.snapshots);
            count("environments", &mut s.gc.environments);
            t.finish();
        }
        if let Some(t) = root.table("tracking") {
            s.tracking = tracking(t);
        }
        if let Some(mut t) = root.table("ui") {
            s.ui.mlflow = t.flag("mlflow").unwrap_or_default();
            s.ui.python = t.text("python");
            t.finish();
        }
        if let Some(t) = root.table("registry") {
            s.registry = mirror(t);
        }
        s
    })
}

/// The name of a variable of the daemon's environment.
fn variable(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let wrong = || format!("`{text}` is no name of an environment variable: write the name, never the value");
    good.then(|| text.to_owned()).ok_or_else(wrong)
}

/// `[registry]`: where versions are mirrored to.
fn mirror(mut t: Table) -> MirrorSettings {
    let mlflow = t.parsed("mlflow", paths::url);
    let secret = t.parsed("secret", variable);
    if !t.has("mlflow") {
        t.error("missing key `mlflow`: the address of the server that versions are mirrored to".into());
    }
    t.finish();
    MirrorSettings { mlflow, secret }
}

/// `[tracking]`: who may call the tracking server, and for what.
fn tracking(mut t: Table) -> TrackingSettings {
    let mut s = TrackingSettings::default();
    s.default = t.parsed("default", Level::of).unwrap_or(s.default);
    for mut user in t.tables("user") {
        let name = user.required("name");
        let secret = user.parsed("secret", variable);
        if !user.has("secret") {
            user.error("missing key `secret`: the variable of the daemon's environment that holds it".into());
        }
        if let Some(name) = name.as_ref().filter(|name| s.users.iter().any(|u| u.name == **name)) {
            user.error_at("name", format!("two users are called `{name}`"), "give each a name of their own".into());
        }
        user.finish();
        s.users.extend(name.zip(secret).map(|(name, secret)| TrackingUser { name, secret }));
    }
    for mut line in t.tables("permission") {
        let user = line.text("user").unwrap_or_else(|| "*".into());
        let (experiment, model) = (line.text("experiment"), line.text("model"));
        let level = line.parsed("level", Level::of);
        if experiment.is_some() == model.is_some() {
            line.error("a permission is about either an `experiment` or a `model`".into());
        }
        if !line.has("level") {
            line.error("missing key `level`: none, read, edit or manage".into());
        }
        if user != "*" && !s.users.iter().any(|u| u.name == user) {
            line.error_at(
                "user",
                format!("there is no user `{user}`"),
                "name one of [[tracking.user]], or \"*\"".into(),
            );
        }
        line.finish();
        let on = experiment.map(On::Experiment).or(model.map(On::Model));
        s.permissions.extend(on.zip(level).map(|(on, level)| Permission { user, on, level }));
    }
    t.finish();
    s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_users_of_one_name_are_an_error_with_its_place() {
        let user = |name: &str| format!("[[tracking.user]]\nname = \"{name}\"\nsecret = \"TOKEN_OF_{name}\"\n");
        let read = |names: [&str; 2]| {
            let text = format!("schema = \"trimtab/v1\"\n{}{}", user(names[0]), user(names[1]));
            settings("trimtab.toml", text.as_bytes()).map(|(s, _)| s.tracking.users.len())
        };
        assert_eq!(read(["ada", "lin"]), Ok(2));
        let found = read(["ada", "ada"]).unwrap_err();
        let place = found[0].location.as_ref().unwrap();
        assert_eq!((found[0].message.as_str(), place.line, place.column), ("two users are called `ada`", 6, 8));
    }

    #[test]
    fn a_mirror_has_an_address_and_names_its_secret() {
        let read = |lines: &str| {
            let text = format!("schema = \"trimtab/v1\"\n[registry]\n{lines}\n");
            settings("trimtab.toml", text.as_bytes()).map(|(s, _)| s.registry)
        };
        let good = read("mlflow = \"http://m:5000\"\nsecret = \"M_TOKEN\"").unwrap();
        assert_eq!(good, MirrorSettings { mlflow: Some("http://m:5000".into()), secret: Some("M_TOKEN".into()) });
        for bad in [
            "",
            "secret = \"M_TOKEN\"",
            "mlflow = \"m:5000\"",
            "mlflow = \"http://ada:pw@m:5000\"",
            "mlflow = \"http://m:5000\"\nsecret = \"ada:pw\"",
            "mlflow = \"http://m:5000\"\ntoken = \"x\"",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
