"""Small things to make, by the marks of `pair`."""

from pair import unique


class World:
    """One of each kind of thing, made when it is first asked for."""

    def __init__(self, pair):
        self.pair, self.made = pair, {}
        self.prefix = unique("world")

    def once(self, kind):
        if kind not in self.made:
            self.made[kind] = getattr(self, f"make_{kind}")()
        return self.made[kind]

    def renew(self):
        """All that was made is made anew, under the same marks: what was done to it by one server alone is gone."""
        for kind, mark in self.made.items():
            if kind == "model":
                for side in (0, 1):
                    self.pair.ask(side, "DELETE", "registered-models/delete", {"name": mark})
            if kind != "experiment":
                other = getattr(self, f"make_{kind}")()
                if other != mark:
                    self.pair.marks[mark] = self.pair.marks.pop(other)

    experiment = property(lambda self: self.once("experiment"))
    run = property(lambda self: self.once("run"))
    deleted_run = property(lambda self: self.once("deleted_run"))
    model = property(lambda self: self.once("model"))
    logged = property(lambda self: self.once("logged"))

    def make_experiment(self):
        return self.pair.post("experiments/create", {"name": f"{self.prefix}-e"}).ref("experiment_id", f"{self.prefix}-e")

    def make_run(self):
        fields = {"experiment_id": self.experiment, "run_name": "r", "start_time": 1_700_000_000_000}
        return self.pair.post("runs/create", fields).ref("run.info.run_id", f"{self.prefix}-r")

    def make_deleted_run(self):
        run = self.pair.post("runs/create", {"experiment_id": self.experiment}).ref("run.info.run_id", f"{self.prefix}-d")
        self.pair.post("runs/delete", {"run_id": run})
        return run

    def make_model(self):
        name = f"{self.prefix}-m"
        self.pair.post("registered-models/create", {"name": name})
        self.pair.post("model-versions/create", {"name": name, "source": "s3://bucket/m"})
        self.pair.post("registered-models/alias", {"name": name, "alias": "best", "version": "1"})
        return name

    def make_logged(self):
        fields = {"experiment_id": self.experiment, "name": "net"}
        return self.pair.post("logged-models", fields).ref("model.info.model_id", f"{self.prefix}-l")
