//! What is wrong with settings that their text does not show: what they name is not in the daemon's environment.

use super::Reconciler;
use crate::{model::*, spec::Loaded};

/// Users of the tracking server whose secret nobody set.
fn unset(loaded: &Loaded, folder: &str, set: impl Fn(&str) -> bool) -> Vec<Diagnostic> {
    let users = loaded.state().settings.tracking.users.iter().enumerate();
    let told = |(place, user): (usize, &TrackingUser)| Diagnostic {
        severity: Severity::Warning,
        message: format!(
            "the variable `{}` is not set in the daemon's environment: nobody can log in as `{}`",
            user.secret, user.name
        ),
        location: Some(loaded.settings_at(folder, &format!("tracking.user.{place}.secret"))),
        label: String::new(),
        help: Some("set it, and start the daemon again".into()),
        model: None,
    };
    users.filter(|(_, user)| !set(&user.secret)).map(told).collect()
}

impl Reconciler {
    /// Everything that is to be said of the specs in force here, in this environment.
    pub(super) fn diagnostics(&self, loaded: &Loaded) -> Vec<Diagnostic> {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let folder = self.source_status().path;
        let state = loaded.state();
        state.diagnostics.iter().cloned().chain(unset(loaded, &folder, set)).collect()
    }

    /// Logs what is doubtful about the settings, when it comes up.
    pub(super) fn warn_of_settings(&self, before: &Loaded, now: &Loaded) {
        let known = self.diagnostics(before);
        let found = self.diagnostics(now);
        let new = found.iter().filter(|d| d.is_doubt_about_settings() && !known.contains(d));
        new.for_each(|d| tracing::warn!("settings: {}", d.sentence()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{GitTree, PortResult, TreeChange};

    struct One(&'static str);

    impl GitTree for One {
        fn changes(&self, _: Option<&ObjectId>, _: &ObjectId, _: &str) -> PortResult<Vec<TreeChange>> {
            let path = "specs/trimtab.toml".to_owned();
            let new = self.entry(&ObjectId("".into()), &path)?;
            Ok(vec![TreeChange { path, old: None, new }])
        }
        fn list(&self, _: &ObjectId, _: &str) -> PortResult<Vec<TreeEntry>> {
            Ok(vec![])
        }
        fn entry(&self, _: &ObjectId, path: &str) -> PortResult<Option<TreeEntry>> {
            let entry = || TreeEntry { path: path.to_owned(), mode: 0o100_644, id: ObjectId("x".into()) };
            Ok((path == "specs/trimtab.toml").then(entry))
        }
        fn size(&self, _: &ObjectId) -> PortResult<u64> {
            Ok(self.0.len() as u64)
        }
        fn blob(&self, _: &ObjectId, _: u64) -> PortResult<Vec<u8>> {
            Ok(self.0.as_bytes().to_vec())
        }
    }

    #[test]
    fn a_secret_that_nobody_set_is_told_with_its_place() {
        let tree = One(
            "schema = \"trimtab/v1\"\n[[tracking.user]]\nname = \"ada\"\nsecret = \"A\"\n[[tracking.user]]\nname = \"lin\"\nsecret = \"B\"\n",
        );
        let id = ObjectId("1".into());
        let (author, email, summary) = ("Ada".into(), String::new(), String::new());
        let revision = Revision { commit: id.clone(), tree: id.clone(), author, email, summary, time: WallMs(0) };
        let changes = tree.changes(None, &id, "specs").unwrap();
        let loaded = Loaded::update(&Loaded::default(), &changes, &revision, "specs", &tree).unwrap().0;
        assert_eq!(loaded.state().diagnostics, []);
        assert_eq!(unset(&loaded, "specs", |_| true), []);
        let found = unset(&loaded, "specs", |name| name == "A");
        let said = "specs/trimtab.toml:7: the variable `B` is not set in the daemon's environment: nobody can log in as `lin` \
                    (set it, and start the daemon again)";
        assert_eq!(found.iter().map(Diagnostic::sentence).collect::<Vec<_>>(), [said]);
        assert!(found[0].is_doubt_about_settings());
    }
}
