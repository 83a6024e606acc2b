//! Settings that stand where nobody reads them.

use super::*;

#[test]
fn settings_above_the_specs_are_told_to_be_unread() {
    let files =
        Files::default().with("trimtab.toml", "schema = 1").with("ml/specs/trimtab.toml", "schema = \"trimtab/v1\"\n");
    let load = |folder: &str| {
        let changes = files.changes_from(&Files::default());
        let loaded = Loaded::update(&Loaded::default(), &changes, &revision(), folder, &files).unwrap().0;
        loaded.state().diagnostics.clone()
    };
    let found = load("ml/specs");
    assert_eq!(
        render::text(&found),
        "warning: `trimtab.toml` is not read: the specs are in `ml/specs/`\n ┌─ trimtab.toml\n  \
         = move it to `ml/specs/trimtab.toml`; or start the daemon with `--path .`\n\n"
    );
    assert!(found[0].is_doubt_about_settings());
    assert!(load("").iter().all(|d| d.severity == Severity::Error), "at the root they are read");
}
