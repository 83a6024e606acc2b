//! `[serve]`: a command or a runtime, and what goes with which.

use super::*;

fn with(serve: &str) -> Files {
    edited("[serve]\nrun = [\"python\", \"serve.py\"]\n", &format!("[serve]\n{serve}\n"))
}

fn run(serve: &str) -> ServeSpec {
    let loaded = with(serve).load();
    let diagnostics = render::text(&loaded.state().diagnostics);
    let model = loaded.state().models.get("fraud").unwrap_or_else(|| panic!("{serve}: {diagnostics}"));
    model.spec.serve.clone().unwrap()
}

#[test]
fn a_runtime_is_taken_with_its_keys_and_defaults() {
    let onnx = |file: Option<&str>, examples: Option<&str>, max, wait| {
        let (file, examples) = (file.map(str::to_owned), examples.map(str::to_owned));
        Serving::Runtime(Runtime::Onnx(OnnxRuntime { file, examples, max, wait: Millis(wait) }))
    };
    let python =
        |predict: &str| Serving::Runtime(Runtime::Python(PythonRuntime { predict: predict.into(), examples: None }));
    let mlflow = Serving::Runtime(Runtime::Mlflow(MlflowRuntime { file: Some("model".into()), examples: None }));
    for (text, serving) in [
        ("runtime = \"onnx\"", onnx(None, None, 64, 1)),
        (
            "runtime = \"onnx\"\nfile = \"m.onnx\"\nexamples = \"e.json\"\nbatch = { max = 8, wait = \"5ms\" }",
            onnx(Some("m.onnx"), Some("e.json"), 8, 5),
        ),
        ("runtime = \"python\"", python("predict:predict")),
        ("runtime = \"python\"\npredict = \"a.b:c\"", python("a.b:c")),
        ("runtime = \"mlflow\"\nfile = \"model\"", mlflow),
    ] {
        let serve = run(text);
        assert_eq!((serve.run.clone(), &*serve.ready), (serving, "/v2/health/ready"), "{text}");
        // What a saved model asks for is installed in this time.
        assert_eq!(serve.ready_timeout, Millis(if text.contains("mlflow") { 600_000 } else { 60_000 }), "{text}");
        let record = serde_json::to_string(&serve).unwrap();
        assert_eq!(serde_json::from_str::<ServeSpec>(&record).unwrap(), serve, "{record}");
    }
}

#[test]
fn a_command_is_recorded_as_it_was_before_there_were_runtimes() {
    for (text, record) in [("run = [\"a\", \"b\"]", "[\"a\",\"b\"]"), ("run = \"a b\"", "\"a b\"")] {
        let serving = run(text).run;
        assert_eq!(serde_json::to_string(&serving).unwrap(), record);
        assert_eq!(serde_json::from_str::<Serving>(record).unwrap(), serving);
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    for (serve, said) in [
        ("replicas = 1", "[serve] needs `run`, such as"),
        ("runtime = \"tensorflow\"", "this version has the runtimes \"onnx\", \"mlflow\", \"python\""),
        ("runtime = 1", "must be a string"),
        ("runtime = \"onnx\"\nrun = \"x\"", "by `run` or by `runtime`, not by both"),
        ("runtime = \"onnx\"\npredict = \"a:b\"", "`predict` does nothing with runtime = \"onnx\""),
        ("runtime = \"python\"\nfile = \"m\"", "it belongs to runtime = \"onnx\" and runtime = \"mlflow\""),
        ("run = \"x\"\nbatch = { max = 1 }", "`batch` does nothing with `run`"),
        ("runtime = \"mlflow\"\nbatch = { max = 1 }", "`batch` does nothing with runtime = \"mlflow\""),
        ("runtime = \"onnx\"\nfile = \"model.pkl\"", "`file` is no ONNX file"),
        ("runtime = \"onnx\"\nfile = \"../m.onnx\"", "`..` is refused"),
        ("runtime = \"onnx\"\nexamples = \"/e.json\"", "absolute paths are refused"),
        ("runtime = \"onnx\"\nbatch = 3", "must be a table"),
        ("runtime = \"onnx\"\nbatch = { max = 0 }", "a whole number from 1 to 4096"),
        ("runtime = \"onnx\"\nbatch = { wait = \"1m\" }", "no request should wait for more than 1s"),
        ("runtime = \"onnx\"\nbatch = { most = 3 }", "unknown key `most`"),
        ("runtime = \"python\"\npredict = \"predict\"", "write a module and a function"),
        ("runtime = \"python\"\npredict = \"a-b:c\"", "write a module and a function"),
    ] {
        let text = diagnostics(&with(serve));
        assert!(text.contains(said) && text.contains("models/fraud/model.toml"), "{serve}: {text}");
    }
}
