//! Certificates of a real HTTPS server: what does not check out is refused by its own name, while everything else goes on.

use crate::{
    forge::{Forge, config},
    support::{SERVED, World, model},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde_json::Value;
use std::{fs, path::PathBuf};
use trimtab::{
    model::SourceReason,
    ports::Source,
    source::{GitSource, SourceConfig},
};

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes the authority's own certificate.
    fn publish(&self, w: &World, name: &str) -> PathBuf {
        fs::write(w.path(name), self.0.pem()).unwrap();
        w.path(name)
    }

    /// Gives the server a certificate for `host`.
    fn certify(&self, w: &World, host: &str, edit: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        fs::create_dir_all(w.path("tls")).unwrap();
        fs::write(w.path("tls/cert.pem"), params.signed_by(&key, &self.0).unwrap().pem()).unwrap();
        fs::write(w.path("tls/key.pem"), key.serialize_pem()).unwrap();
    }
}

const HOST: &str = "127.0.0.1";

#[test]
fn only_a_certificate_of_a_named_authority_for_this_host_and_time_is_taken() {
    let w = World::new();
    let ours = Authority::new();
    let ca = ours.publish(&w, "ca.pem");
    ours.certify(&w, HOST, |_| ());
    let forge = Forge::start_tls(&w);
    let fetch = |ca: Option<&PathBuf>| {
        let config = SourceConfig { ca: ca.cloned(), ..config(&w, &forge.url, "s3cret") };
        GitSource::open(&config).unwrap().fetch(None)
    };
    let refused = |ca: Option<&PathBuf>| {
        let error = fetch(ca).unwrap_err();
        assert_eq!(error.reason, Some(SourceReason::Certificate), "{error}");
        assert!(error.message.contains("TRIMTAB_GIT_CA"), "{error}");
    };
    refused(None);
    fetch(Some(&ca)).unwrap();
    refused(Some(&Authority::new().publish(&w, "other.pem")));
    refused(Some(&w.path("no/such/file")));
    ours.certify(&w, "elsewhere.example.com", |_| ());
    refused(Some(&ca));
    ours.certify(&w, HOST, |p| p.not_after = date_time_ymd(2001, 1, 1));
    refused(Some(&ca));
    Authority::new().certify(&w, HOST, |_| ());
    refused(Some(&ca));
}

fn source(w: &World) -> Value {
    w.json(&["status"])["source"].clone()
}

#[test]
fn while_the_certificate_does_not_check_out_models_serve_on_and_then_all_is_caught_up() {
    let mut w = World::new();
    let count = w.path("count");
    w.commit_model("fraud", &model("fraud", &count, ", seed = 1", SERVED));
    let (ours, theirs) = (Authority::new(), Authority::new());
    ours.certify(&w, HOST, |_| ());
    let forge = Forge::start_tls(&w);
    w.url = Some(forge.url.replace("//", "//bot:s3cret@"));
    // The file of authorities does not hold the right one yet.
    let ca = theirs.publish(&w, "ca.pem");
    w.start_with(&[("TRIMTAB_GIT_CA", ca.to_str().unwrap())]);
    w.wait_api();
    assert!(!w.trimtab(&["sync"]).status.success());
    assert_eq!(source(&w)["reason"], "certificate");
    ours.publish(&w, "ca.pem");
    let out = w.trimtab(&["sync"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    w.wait_for("fraud", "version=v1");
    theirs.certify(&w, HOST, |_| ());
    w.commit_model("fraud", &model("fraud", &count, ", seed = 2", SERVED));
    let out = w.trimtab(&["sync"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("TRIMTAB_GIT_CA") && !said.contains("s3cret"), "{said}");
    let status = source(&w);
    assert_eq!(status["reason"], "certificate");
    let pause = status["retry_at"].as_i64().unwrap() - status["last_fetch"].as_i64().unwrap();
    assert!(pause > 60_000, "a person is waited for: {pause} ms");
    let text = String::from_utf8(w.trimtab(&["status"]).stdout).unwrap();
    assert!(text.contains("certificate") && text.contains("asked again in"), "{text}");
    assert_eq!(w.get("/models/fraud/x").1, "v1", "what was deployed serves on");
    ours.certify(&w, HOST, |_| ());
    assert!(w.trimtab(&["sync"]).status.success());
    w.wait_for("fraud", "version=v2");
    let status = source(&w);
    assert!(["reason", "error", "since", "retry_at"].iter().all(|key| status[key].is_null()), "{status}");
}
