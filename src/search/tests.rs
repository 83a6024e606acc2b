use super::*;
use crate::model::tracking::{ErrorCode, TrackingError};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// A thing of the fixture.
struct Thing(Value);

impl Thing {
    fn id(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(f64::NAN)
}

impl Searched for Thing {
    fn attribute(&self, name: &str) -> Attribute<'_> {
        match &self.0["attributes"][name] {
            Value::String(s) => Attribute::Text(s.into()),
            Value::Number(n) => Attribute::Integer(n.as_i64().unwrap()),
            _ => Attribute::Missing,
        }
    }
    fn metric(&self, key: &str) -> Option<f64> {
        self.0["metrics"].get(key).map(number)
    }
    fn param(&self, key: &str) -> Option<&str> {
        self.0["params"].get(key)?.as_str()
    }
    fn tag(&self, key: &str) -> Option<&str> {
        self.0["tags"].get(key)?.as_str()
    }
    fn metadata(&self, key: &str) -> Option<&str> {
        self.0["metadata"].get(key)?.as_str()
    }
    fn any_dataset(&self, holds: &mut dyn FnMut(&Dataset<'_>) -> bool) -> bool {
        self.0["datasets"].as_array().into_iter().flatten().any(|d| {
            let [name, digest] = [0, 1].map(|i| d[i].as_str().unwrap());
            holds(&Dataset { name, digest, context: d[2].as_str() })
        })
    }
    fn each_point(&self, visit: &mut dyn FnMut(&Point<'_>)) {
        for p in self.0["points"].as_array().into_iter().flatten() {
            visit(&Point {
                key: p[0].as_str().unwrap(),
                value: number(&p[1]),
                timestamp: p[2].as_i64().unwrap(),
                step: p[3].as_i64().unwrap(),
                run_id: p[4].as_str().unwrap(),
                dataset_name: p[5].as_str(),
                dataset_digest: p[6].as_str(),
            });
        }
    }
    fn is_prompt(&self) -> bool {
        self.0["prompt"] == true || self.tag(IS_PROMPT) == Some("true")
    }
}

fn fixture() -> (BTreeMap<String, Vec<Thing>>, Vec<Value>, Vec<Value>) {
    let text = include_str!("../../tests/fixtures/mlflow-filters.json");
    let mut all: Value = serde_json::from_str(text).unwrap();
    let things = all["things"].as_object().unwrap().iter();
    let things = things.map(|(k, v)| (k.clone(), v.as_array().unwrap().iter().cloned().map(Thing).collect()));
    let things = things.collect();
    let mut rows = |name: &str| all[name].take().as_array().cloned().unwrap();
    (things, rows("filters"), rows("orders"))
}

fn subject(row: &Value) -> Subject {
    match row["subject"].as_str().unwrap() {
        "runs" => Subject::Runs,
        "experiments" => Subject::Experiments,
        "registered_models" => Subject::RegisteredModels,
        "model_versions" => Subject::ModelVersions,
        "logged_models" => Subject::LoggedModels,
        _ => Subject::Traces,
    }
}

fn texts(v: &Value) -> Vec<String> {
    v.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// Refused in other words: SQL's aliases are not grouped here.
const REWORDED: &[&str] = &["tags.``team`` = 'Red'", "tags.team = 'Red' tags.x", "tags.team = 'Red' = 'x'"];

/// What is wrong with an answer to a row, by what MLflow answered.
fn judged(row: &Value, answer: Result<Vec<String>, TrackingError>) -> Option<String> {
    let code = row["error_code"].as_str().unwrap_or("");
    let wrong = match answer {
        // Where MLflow breaks, any sane answer is good; unless it is what makes clients try again.
        Err(e) if matches!(code, "INTERNAL_ERROR" | "CRASH") => e.code != ErrorCode::InvalidParameterValue,
        Ok(_) if matches!(code, "INTERNAL_ERROR" | "CRASH") => false,
        Ok(ids) if row["ok"] == true && ids != texts(&row["ids"]) => return Some(format!("{row}\n   found: {ids:?}")),
        Ok(_) => row["ok"] != true,
        Err(e) if row["ok"] == true => return Some(format!("{row}\n   refused: {e}")),
        Err(e) => {
            let asked = row["message"].as_str().unwrap_or("");
            // Sets stand in any order in Python's words, and what the database says is its own.
            let ours = subject(row) == Subject::Traces || row["filter"].as_str().is_some_and(|f| REWORDED.contains(&f));
            let comparable = !asked.contains('{') && code != "BAD_REQUEST" && !ours;
            let worded = !comparable || e.message == asked;
            if !worded {
                return Some(format!("{}\n   asked: {asked}\n   found: {}", row["filter"], e.message));
            }
            e.code.name() != code
        }
    };
    wrong.then(|| row.to_string())
}

#[test]
fn filters_pass_what_they_pass_in_mlflow() {
    let (things, filters, _) = fixture();
    let mut wrong = Vec::new();
    for row in &filters {
        let datasets = row["datasets"].as_array().into_iter().flatten().map(|d| OnDataset {
            name: d["dataset_name"].as_str().unwrap_or_default().to_owned(),
            digest: d["dataset_digest"].as_str().map(str::to_owned),
        });
        let datasets: Vec<_> = datasets.collect();
        // Refused by the call, not by the filter.
        if datasets.iter().any(|d| d.name.is_empty()) {
            continue;
        }
        let filter = Filter::parse(subject(row), row["filter"].as_str().unwrap()).map(|f| f.on_datasets(datasets));
        let answer = filter.map(|f| {
            let mut ids: Vec<String> = things[row["subject"].as_str().unwrap()]
                .iter()
                .filter(|t| f.matches(*t))
                .map(|t| t.id().to_owned())
                .collect();
            ids.sort();
            ids
        });
        wrong.extend(judged(row, answer));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), filters.len(), wrong.join("\n"));
}

fn orders_of(row: &Value) -> Result<Orders, TrackingError> {
    if subject(row) != Subject::LoggedModels {
        return Orders::parse(subject(row), &texts(&row["order_by"]));
    }
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let orders = row["order_by"].as_array().unwrap().iter().map(|o| OrderBy {
        field_name: text(&o["field_name"]).unwrap(),
        ascending: o["ascending"] != false,
        dataset_name: text(&o["dataset_name"]),
        dataset_digest: text(&o["dataset_digest"]),
    });
    Orders::of_logged_models(&orders.collect::<Vec<_>>())
}

#[test]
fn orders_are_mlflows() {
    let (things, _, orders) = fixture();
    let mut wrong = Vec::new();
    for row in &orders {
        let answer = orders_of(row).map(|orders| {
            let mut found: Vec<_> = things[row["subject"].as_str().unwrap()]
                .iter()
                .filter(|t| !t.is_prompt())
                .map(|t| (orders.key(t), t.id().to_owned()))
                .collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found.into_iter().map(|(_, id)| id).collect()
        });
        wrong.extend(judged(row, answer));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), orders.len(), wrong.join("\n"));
}

#[test]
fn page_tokens_are_what_mlflow_gives_out() {
    assert_eq!(page::token(2), "eyJvZmZzZXQiOiAyfQ==");
    assert_eq!(page::offset("eyJvZmZzZXQiOiAyfQ=="), Ok(2));
    assert_eq!(page::offset(""), Ok(0));
    assert_eq!(page::offset(&page::encode(r#"{"offset": "7"}"#)), Ok(7));
    for bad in
        ["x", "!!!", "bm90IGpzb24=", &page::encode(r#"{"offset": 0}"#), &page::encode("[1]"), &page::encode("{}")]
    {
        assert_eq!(page::offset(bad).map_err(|e| e.code), Err(ErrorCode::InvalidParameterValue), "{bad}");
    }
}

#[test]
fn keys_of_runs_stay_off_the_heap() {
    assert!(size_of::<SortKey>() <= 112, "{}", size_of::<SortKey>());
}

#[test]
fn ids_that_are_no_hex_sort_among_those_that_are() {
    use super::order::SortKey;
    let key = |id: &str, order: &str| -> SortKey {
        let run = serde_json::json!({"id": id, "attributes": {"run_id": id}});
        Orders::parse(Subject::Runs, &[order.to_owned()]).unwrap().key(&Thing(run))
    };
    let mut ids = ["zz", &"0".repeat(32), "5", &"a".repeat(32), &format!("{}Z", "0".repeat(31)), ""];
    ids.sort_by_key(|id| key(id, "run_id"));
    let mut by_text = ids;
    by_text.sort();
    assert_eq!(ids, by_text);
    ids.sort_by_key(|id| key(id, "run_id DESC"));
    by_text.reverse();
    assert_eq!(ids, by_text);
}

const SUBJECTS: [Subject; 6] = [
    Subject::Runs,
    Subject::Experiments,
    Subject::RegisteredModels,
    Subject::ModelVersions,
    Subject::LoggedModels,
    Subject::Traces,
];

fn survives(text: &str) {
    let thing = Thing(serde_json::json!({"id": "x", "attributes": {"name": "é"}, "tags": {"a": "ü%_"}}));
    for subject in SUBJECTS {
        if let Ok(filter) = Filter::parse(subject, text) {
            filter.matches(&thing);
        }
        if let Ok(orders) = Orders::parse(subject, &[text.to_owned()]) {
            let _ = orders.key(&thing);
        }
    }
    let _ = page::offset(text);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn nothing_like_a_filter_panics(words in prop::collection::vec(prop::sample::select(vec![
        "metrics", "params", "tags", "name", "attributes", ".", "a", "`b c`", "\"d\"", "'e'", "'", "\"", "`", "=", "!=", "<",
        "LIKE", "ILIKE", "NOT", "IN", "IS", "NULL", "AND", "OR", "(", ")", ",", "1", "-2", ".5", "1e9", "é", "%", "_", "\\",
        " ", " ", " ", "\n", "DESC", "ASC", "timestamp", "[", "]", "->", "-", "--", "/*", "*/", "0x", ":", "$", ";", "#",
    ]), 0..14)) {
        survives(&words.concat());
    }
}
