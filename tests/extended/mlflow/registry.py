"""The model registry as its users know it: register, promote, find, load, copy; and prompts."""

import twice
from twice import NAME, note, refused

# A model needs no requirements here: to find them, MLflow would import everything anew in a process.
REQUIREMENTS = ["numpy"]


def script():
    import mlflow
    from mlflow import MlflowClient

    note("experiment", mlflow.set_experiment(NAME))
    client = MlflowClient()
    models = log_models(mlflow)
    versions(mlflow, client, models)
    aliases_and_stages(mlflow, client)
    searches(mlflow, client)
    loads(mlflow, client, models)
    copies(mlflow, client)
    endings(mlflow, client)
    prompts(mlflow, client)


def log_models(mlflow):
    """Three models that answer 1, 2, 3."""

    class Answer(mlflow.pyfunc.PythonModel):
        def __init__(self, answer):
            self.answer = answer

        def predict(self, context, model_input: list[str], params=None):
            return [self.answer] * len(model_input)

    made = []
    for answer in (1, 2, 3):
        with mlflow.start_run(run_name=f"answers {answer}") as run:
            info = mlflow.pyfunc.log_model(name="model", python_model=Answer(answer), pip_requirements=REQUIREMENTS, registered_model_name=f"{NAME}-auto" if answer == 3 else None)
            made.append((run.info.run_id, info))
            note(f"logged {answer}", {"uri": info.model_uri, "id": info.model_id, "run": info.run_id, "version": info.registered_model_version})
            note(f"outputs {answer}", mlflow.get_run(run.info.run_id).outputs.model_outputs)
    return made


def versions(mlflow, client, models):
    name = NAME + "-m"
    note("created", client.create_registered_model(name, tags={"task": "answers", "n": 5}, description="what it is"))
    refused("created again", lambda: client.create_registered_model(name))
    refused("bad name", lambda: client.create_registered_model("a/b"))
    refused("no name", lambda: client.create_registered_model(" "))
    run, info = models[0]
    note("by run", mlflow.register_model(f"runs:/{run}/model", name, tags={"from": "run"}))
    note("by model", mlflow.register_model(models[1][1].model_uri, name))
    note("by client", client.create_model_version(name, source=models[2][1].model_uri, run_id=models[2][0], description="third", tags={"v": "3"}, model_id=models[2][1].model_id))
    note("elsewhere", client.create_model_version(name, source="s3://bucket/model"))
    refused("a local path", lambda: client.create_model_version(name, source="/etc"))
    refused("a run without that", lambda: mlflow.register_model(f"runs:/{run}/nope", name))
    refused("no such run", lambda: mlflow.register_model(f"runs:/{'0' * 32}/model", name))
    refused("no such model", lambda: client.create_model_version("no " + NAME, source="s3://bucket/model"))
    note("registered on the way", client.get_model_version(NAME + "-auto", "1"))
    note("model", client.get_registered_model(name))
    note("updated", client.update_registered_model(name, description="moved"))
    note("version updated", client.update_model_version(name, "1", description="the first"))
    client.set_registered_model_tag(name, "t", 1)
    client.delete_registered_model_tag(name, "t")
    client.delete_registered_model_tag(name, "never there")
    client.set_model_version_tag(name, "2", "t", 2)
    client.delete_model_version_tag(name, "2", "t")
    note("version", client.get_model_version(name, "2"))
    refused("no such version", lambda: client.get_model_version(name, "99"))
    note("place", client.get_model_version_download_uri(name, "1"))
    note("registrations of a model", client.get_logged_model(models[1][1].model_id).tags)


def aliases_and_stages(mlflow, client):
    name = NAME + "-m"
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "champion", "2")
    client.set_registered_model_alias(name, "challenger", "3")
    client.set_registered_model_alias(name, "other", "3")
    note("champion", client.get_model_version_by_alias(name, "champion"))
    refused("no such alias", lambda: client.get_model_version_by_alias(name, "nope"))
    for alias in ("latest", "v1", "a b", ""):
        refused(f"alias {alias!r}", lambda: client.set_registered_model_alias(name, alias, "1"))
    refused("alias of no version", lambda: client.set_registered_model_alias(name, "x", "99"))
    client.delete_registered_model_alias(name, "other")
    client.delete_registered_model_alias(name, "other")
    note("to Production", client.transition_model_version_stage(name, "1", "Production"))
    note("the next to production", client.transition_model_version_stage(name, "2", "production", archive_existing_versions=True))
    note("to Staging", client.transition_model_version_stage(name, "3", "Staging"))
    refused("to nowhere", lambda: client.transition_model_version_stage(name, "3", "Nowhere"))
    note("latest", client.get_latest_versions(name))
    note("latest of stages", client.get_latest_versions(name, ["Production", "None"]))
    note("with aliases", client.get_registered_model(name))


def searches(mlflow, client):
    for task in ("tabular", "text"):
        client.create_registered_model(f"{NAME}-{task}", tags={"task": task})
    mine = f"name LIKE '{NAME}%'"
    note("models", client.search_registered_models(mine))
    note("by tag", client.search_registered_models(f"{mine} AND tags.task = 'text'"))
    note("by time", client.search_registered_models(mine, order_by=["timestamp DESC"]))
    page = client.search_registered_models(mine, max_results=2)
    note("second page", list(client.search_registered_models(mine, max_results=2, page_token=page.token)))
    note("fluent", mlflow.search_registered_models(filter_string=mine, order_by=["name DESC"], max_results=3))
    note("versions", client.search_model_versions(f"name = '{NAME}-m'"))
    note("versions by number", client.search_model_versions(mine, order_by=["version_number ASC", "name"]))
    note("versions of a run", client.search_model_versions(f"run_id = '{client.get_model_version(NAME + '-m', '3').run_id}'"))
    note("fluent versions", mlflow.search_model_versions(filter_string=f"name='{NAME}-m'", max_results=2))
    refused("bad filter", lambda: client.search_registered_models("nope = 'x'"))
    refused("bad order", lambda: client.search_model_versions(mine, order_by=["nope"]))


def loads(mlflow, client, models):
    name = NAME + "-m"
    run, info = models[0]
    uris = [f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/Production", f"models:/{name}/Staging", f"models:/{NAME}-auto/latest", info.model_uri, f"runs:/{run}/model"]
    for index, uri in enumerate(uris):
        note(f"answer {index}", mlflow.pyfunc.load_model(uri).predict(["x"]))
    note("files", sorted(f.path for f in mlflow.artifacts.list_artifacts(uris[0])))
    note("info", {k: v for k, v in mlflow.models.get_model_info(uris[0]).flavors["python_function"].items() if k != "python_version"})
    for index, uri in enumerate((f"models:/{name}/99", f"models:/{name}@nope", f"models:/{name}/Archived/x", f"models:/no{NAME}/latest", "models:/m-" + "0" * 32)):
        refused(f"load {index}", lambda: mlflow.pyfunc.load_model(uri))


def copies(mlflow, client):
    note("copied", client.copy_model_version(f"models:/{NAME}-m/2", NAME + "-copy"))
    note("copied by alias", client.copy_model_version(f"models:/{NAME}-m@challenger", NAME + "-copy"))
    note("copy of a copy", client.copy_model_version(f"models:/{NAME}-copy/1", NAME + "-copy"))
    note("answer of a copy", mlflow.pyfunc.load_model(f"models:/{NAME}-copy/1").predict(["x"]))
    refused("copy of nothing", lambda: client.copy_model_version(f"models:/{NAME}-m/99", NAME + "-copy"))
    refused("not a version", lambda: client.copy_model_version("runs:/x/model", NAME + "-copy"))


def endings(mlflow, client):
    name = NAME + "-m"
    note("renamed", client.rename_registered_model(name, NAME + "-renamed"))
    refused("the old name", lambda: client.get_registered_model(name))
    name = NAME + "-renamed"
    note("versions went along", client.search_model_versions(f"name = '{name}'"))
    note("the alias went along", client.get_model_version_by_alias(name, "champion").version)
    refused("rename to what is there", lambda: client.rename_registered_model(name, NAME + "-copy"))
    client.delete_model_version(name, "4")
    refused("deleted version", lambda: client.get_model_version(name, "4"))
    note("the next number", client.create_model_version(name, source="s3://bucket/x").version)
    client.delete_model_version(name, "2")
    refused("its alias", lambda: client.get_model_version_by_alias(name, "champion"))
    note("what is left", client.get_registered_model(name))
    client.delete_registered_model(name)
    refused("deleted model", lambda: client.get_registered_model(name))
    note("its versions", client.search_model_versions(f"name = '{name}'"))


def prompts(mlflow, client):
    name = NAME + "-prompt"
    first = mlflow.genai.register_prompt(name, template="Hello {{who}}", commit_message="first", tags={"author": "ada"})
    mlflow.genai.register_prompt(name, template="Good day {{who}}", commit_message="second")
    shown = lambda p: {"name": p.name, "version": p.version, "template": p.template, "message": p.commit_message, "tags": p.tags, "aliases": p.aliases}
    note("first", shown(first))
    note("loaded", shown(mlflow.genai.load_prompt(f"prompts:/{name}/1")))
    mlflow.genai.set_prompt_alias(name, "live", 2)
    live = mlflow.genai.load_prompt(f"prompts:/{name}@live")
    note("live", shown(live))
    note("filled", live.format(who="Bob"))
    note("latest", shown(mlflow.genai.load_prompt(name)))
    note("none", mlflow.genai.load_prompt(f"prompts:/{name}/99", allow_missing=True))
    note("prompts", [p.name for p in mlflow.genai.search_prompts(filter_string=f"name LIKE '{NAME}%'")])
    mlflow.genai.set_prompt_tag(name, "k", "v")
    note("tags", mlflow.genai.get_prompt_tags(name))
    mlflow.genai.delete_prompt_alias(name, "live")
    note("models are not prompts", [m.name for m in client.search_registered_models(f"name LIKE '{NAME}%'")])
    refused("a prompt is no model", lambda: client.create_model_version(name, source="s3://bucket/x"))
    refused("a model is no prompt", lambda: mlflow.genai.register_prompt(NAME + "-text", template="x"))


if __name__ == "__main__":
    twice.main(script)
