//! Instant queries of Prometheus' HTTP API (`/api/v1/query`), <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use crate::{model::*, ports::*};
use serde::Deserialize;
use std::{io::Read, time::Duration};

/// A server that has not answered by then has a trouble of its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: a query for one figure has a few hundred, one that gives every series of a server has no end.
const LARGEST: u64 = 1024 * 1024;

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Reply {
    Success { data: Data },
    Error { error: String },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum Data {
    Scalar((f64, String)),
    Vector(Vec<Sample>),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Sample {
    value: (f64, String),
}

/// The figure of the new release, and of the stable one when it is compared with.
pub fn ask(address: &str, query: &str, of: &Measured) -> Result<Answer, String> {
    let version = of.version.to_string();
    let Some(new) = one(address, &filled(query, of, &version))? else { return Ok(Answer::NoData) };
    let Some(stable) = &of.compared_with else { return Ok(Answer::Figures { new, stable: None }) };
    let stable = one(address, &filled(query, of, &stable.to_string()))?;
    Ok(stable.map_or(Answer::NoData, |stable| Answer::Figures { new, stable: Some(stable) }))
}

/// `{{model}}`, `{{environment}}` and `{{version}}` stand for what is measured. They are names and numbers: nothing in them ends a string.
fn filled(query: &str, of: &Measured, version: &str) -> String {
    let query = query.replace("{{model}}", of.model.as_str()).replace("{{environment}}", of.environment.as_str());
    query.replace("{{version}}", version)
}

/// The value of a query; `None`: there is no sample.
fn one(address: &str, query: &str) -> Result<Option<f64>, String> {
    let client = reqwest::blocking::Client::builder().timeout(PATIENCE).build().map_err(|e| e.to_string())?;
    let url = format!("{}/api/v1/query", address.trim_end_matches('/'));
    let answer = client.post(&url).form(&[("query", query)]).send();
    let answer = answer.map_err(|e| format!("{address} does not answer: {}", root(&e)))?;
    let status = answer.status();
    let mut bytes = Vec::new();
    let read = answer.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("{address} broke off: {}", root(&e)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!(
            "{address} answers with more than {LARGEST} bytes: the query is to give one figure: {query}"
        ));
    }
    let reply: Reply = serde_json::from_slice(&bytes)
        .map_err(|_| format!("{address} answers {status}, and not as Prometheus does"))?;
    value(reply, query)
}

fn value(reply: Reply, query: &str) -> Result<Option<f64>, String> {
    let text = match reply {
        Reply::Error { error } => return Err(format!("the query is refused: {error}")),
        Reply::Success { data: Data::Scalar((_, text)) } => text,
        Reply::Success { data: Data::Vector(samples) } => match samples.as_slice() {
            [] => return Ok(None),
            [one] => one.value.1.clone(),
            many => return Err(format!("the query gives {} series, not one: sum them: {query}", many.len())),
        },
        Reply::Success { data: Data::Matrix(_) | Data::String(_) } => {
            return Err(format!("the query gives no single figure: {query}"));
        }
    };
    // Prometheus writes `NaN`, `+Inf` and `-Inf`; the first is a share of nothing.
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    Ok(Some(value).filter(|v| !v.is_nan()))
}

/// What is behind an error of the client.
fn root(e: &dyn std::error::Error) -> String {
    let mut found = e;
    while let Some(deeper) = found.source() {
        found = deeper;
    }
    found.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<f64>, String> {
        value(serde_json::from_str(json).unwrap(), "q")
    }

    #[test]
    fn one_sample_is_a_figure_and_none_is_no_data() {
        let vector =
            |samples: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{samples}]}}}}"#);
        let sample = |v: &str| format!(r#"{{"metric":{{"a":"b"}},"value":[1.5,"{v}"]}}"#);
        assert_eq!(read(&vector(&sample("0.25"))), Ok(Some(0.25)));
        assert_eq!(read(&vector(&sample("+Inf"))), Ok(Some(f64::INFINITY)));
        assert_eq!(read(&vector(&sample("NaN"))), Ok(None));
        assert_eq!(read(&vector("")), Ok(None));
        assert!(read(&vector(&format!("{0},{0}", sample("1")))).unwrap_err().contains("2 series"));
        assert_eq!(read(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#), Ok(Some(3.0)));
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[]}]}}"#;
        assert!(read(matrix).unwrap_err().contains("no single figure"));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(read(refused), Err("the query is refused: parse error".into()));
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            // Until nobody reads any more.
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        });
        let error = one(&address, "up").unwrap_err();
        assert!(error.contains("more than 1048576 bytes") && error.ends_with(": up"), "{error}");
        served.join().unwrap();
    }
}
