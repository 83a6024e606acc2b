//! Who gets which release: sticky callers, forced versions, previews, shadows.

use super::*;
use trimtab::{
    model::Sticky,
    route::{Agreement, Shadow},
};

/// Both releases on one replica each, split in halves.
async fn halves() -> (Router, Route) {
    let (a, b) = (echo().await, echo().await);
    (Router::start(), route(1, &[(1, 50_000, &[a]), (2, 50_000, &[b])]))
}

fn get(path: &str, header: Option<(&str, &str)>) -> http::Request<http_body_util::Full<hyper::body::Bytes>> {
    let request = http::Request::get(path);
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    request.body(http_body_util::Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_stick_by_header_and_by_cookie() {
    let (router, base) = halves().await;
    let by_header = Route { sticky: Some(Sticky::Header("x-user".into())), ..base.clone() };
    router.control().put_route(&by_header).await.unwrap();
    let mut client = router.client();
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..20 {
        let user = user.to_string();
        let mut versions = vec![];
        for _ in 0..5 {
            let answer = client.call(get("/models/m/", Some(("x-user", &user)))).await.unwrap();
            versions.push(answer.version.unwrap());
        }
        versions.dedup();
        assert_eq!(versions.len(), 1, "user {user}: {versions:?}");
        seen.extend(versions);
    }
    assert_eq!(seen.len(), 2, "both halves have callers");
    let by_cookie = Route { generation: 2, sticky: Some(Sticky::Cookie("seat".into())), ..base };
    router.control().put_route(&by_cookie).await.unwrap();
    for _ in 0..5 {
        let first = client.get("/environments/prod/models/m/x").await.unwrap();
        let set = first.headers["set-cookie"].to_str().unwrap().to_owned();
        assert!(set.starts_with("seat=") && set.contains("Path=/environments/prod/models/m;"), "{set}");
        let cookie = set.split(';').next().unwrap();
        for _ in 0..5 {
            let again = client.call(get("/models/m/", Some(("cookie", cookie)))).await.unwrap();
            assert_eq!((again.version, again.headers.get("set-cookie")), (first.version.clone(), None));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_forces_a_version_only_where_the_route_says_so() {
    let (router, base) = halves().await;
    router.control().put_route(&base).await.unwrap();
    let mut client = router.client();
    let mut ask = async |version: &str| {
        let mut all = vec![];
        for _ in 0..6 {
            all.push(client.call(get("/models/m/", Some(("x-trimtab-version", version)))).await.unwrap());
        }
        all
    };
    let versions: std::collections::BTreeSet<_> = ask("v2").await.into_iter().map(|a| a.version).collect();
    assert_eq!(versions.len(), 2, "off by default");
    router.control().put_route(&Route { generation: 2, forced: true, ..base }).await.unwrap();
    assert!(ask("v2").await.iter().all(|a| a.version.as_deref() == Some("v2")));
    let unknown = ask("v9").await.remove(0);
    assert_eq!((unknown.status, unknown.version.as_deref()), (404, None), "{}", unknown.text());
    assert!(
        unknown.text().contains("no ready replica of v9") && unknown.text().contains("v1, v2"),
        "{}",
        unknown.text()
    );
    assert_eq!(ask("newest").await[0].status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_has_an_address_of_its_own_and_no_other_traffic() {
    let router = Router::start();
    let (a, b) = (echo().await, echo().await);
    let base = route(1, &[(1, 100_000, &[a]), (2, 0, &[b])]);
    router.control().put_route(&base).await.unwrap();
    let mut client = router.client();
    let none = client.get("/previews/prod/models/m/x").await.unwrap();
    assert_eq!(none.status, 404, "{}", none.text());
    router.control().put_route(&Route { generation: 2, preview: Some(release(2)), ..base }).await.unwrap();
    for _ in 0..3 {
        let preview = client.get("/previews/prod/models/m/x?y").await.unwrap();
        assert_eq!(preview.version.as_deref(), Some("v2"));
        assert!(
            preview.text().contains("GET /x?y")
                && preview.text().contains("x-forwarded-prefix: /previews/prod/models/m")
        );
        assert_eq!(client.get("/models/m/x").await.unwrap().version.as_deref(), Some("v1"));
    }
}

/// Answers a prediction that lies so far off; tells of each request whether it was a copy.
async fn predicts(off: f64, copies: tokio::sync::mpsc::UnboundedSender<bool>) -> SocketAddr {
    let answer = move |headers: HeaderMap, body: String| async move {
        copies.send(headers.contains_key("x-trimtab-shadow")).unwrap();
        let x: f64 = body.parse().unwrap_or_default();
        axum::Json(serde_json::json!({ "y": [x + off], "label": "a" }))
    };
    replica(Replica::new().fallback(routing::any(answer))).await
}

async fn agreement(router: &Router, wanted: impl Fn(&Agreement) -> bool) -> Agreement {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
        assert!(stats.releases.iter().all(|r| r.shadow.is_some() == (r.release == release(2))));
        let found = stats.releases.iter().find_map(|r| r.shadow).unwrap();
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < until, "{found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_gets_copies_and_its_answers_are_compared() {
    let router = Router::start();
    let (copies, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (a, b) = (predicts(0.0, copies.clone()).await, predicts(0.25, copies).await);
    let base = route(1, &[(1, 100_000, &[a]), (2, 0, &[b])]);
    let shadow = |share, tolerance| Some(Shadow { release: release(2), share, tolerance });
    router.control().put_route(&Route { shadow: shadow(100_000, 0.3), ..base.clone() }).await.unwrap();
    let mut client = router.client();
    for n in 0..40 {
        let request = http::Request::post("/models/m/p").header("x-trimtab-shadow", "mine");
        let answer = client.call(request.body(n.to_string().into()).unwrap()).await.unwrap();
        assert_eq!((answer.status, answer.version.as_deref()), (200, Some("v1")));
        assert!(answer.text().contains(&format!("[{n}.0]")), "{}", answer.text());
    }
    let found = agreement(&router, |a| a.compared == 40).await;
    assert_eq!((found.agreed, found.failed, found.skipped), (40, 0, 0));
    assert_eq!((found.mean_difference, found.max_difference), (0.25, 0.25));
    assert!(found.p99_ms >= found.p50_ms && found.p50_ms > 0.0);
    let mut marked = 0;
    while let Ok(copy) = seen.try_recv() {
        marked += u32::from(copy);
    }
    assert_eq!(marked, 40, "only copies are marked, whatever a caller says");
    let stats = router.control().stats(&name("prod"), &name("m")).await.unwrap();
    let second = stats.releases.iter().find(|r| r.release == release(2)).unwrap();
    assert_eq!(second.epoch.requests, 0, "copies are no traffic");
    // Another tolerance begins a new comparison.
    router.control().put_route(&Route { generation: 2, shadow: shadow(100_000, 0.1), ..base.clone() }).await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.post("/models/m/p", "1").await.unwrap().status, 200);
    }
    assert_eq!(agreement(&router, |a| a.compared == 10).await.agreed, 0);
    // One that is too large is no copy.
    assert_eq!(client.post("/models/m/p", vec![b'1'; 70 << 10]).await.unwrap().status, 200);
    assert_eq!(agreement(&router, |a| a.skipped == 1).await.compared, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_hangs_or_dies_delays_nobody() {
    let settings = RouterSettings::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let router = Router::with(RouterSettings { timeout_ms: 2_000, ..settings });
    let (a, hangs) =
        (echo().await, replica(Replica::new().fallback(routing::any(futures::future::pending::<&str>))).await);
    let shadow = Some(Shadow { release: release(2), share: 100_000, tolerance: 0.0 });
    let base = route(1, &[(1, 100_000, &[a]), (2, 0, &[hangs])]);
    router.control().put_route(&Route { shadow, ..base }).await.unwrap();
    let begun = Instant::now();
    let mut client = router.client();
    for _ in 0..200 {
        assert_eq!(client.get("/models/m/").await.unwrap().status, 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
    // So many are under way, the others were not copied.
    let found = agreement(&router, |a| a.failed == 64).await;
    assert_eq!((found.compared, found.skipped), (0, 136));
    let closed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let dead = route(2, &[(1, 100_000, &[a]), (2, 0, &[closed])]);
    router.control().put_route(&Route { shadow, ..dead }).await.unwrap();
    assert_eq!(client.get("/models/m/").await.unwrap().status, 200);
    agreement(&router, |a| a.failed == 65).await;
}
