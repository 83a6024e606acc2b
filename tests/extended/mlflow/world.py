"""Small things to make, by the marks of `pair`."""

from pair import unique


class World:
    """One of each kind of thing, made when it is first asked for."""

    def __init__(self, pair):
        self.pair, self.made = pair, {}
        self.prefix = unique("world")

    def once(self, kind, make):
        if kind not in self.made:
            self.made[kind] = make()
        return self.made[kind]

    @property
    def experiment(self):
        make = lambda: self.pair.post("experiments/create", {"name": f"{self.prefix}-e"}).ref("experiment_id", f"{self.prefix}-e")
        return self.once("experiment", make)

    @property
    def run(self):
        fields = {"experiment_id": self.experiment, "run_name": "r", "start_time": 1_700_000_000_000}
        return self.once("run", lambda: self.pair.post("runs/create", fields).ref("run.info.run_id", f"{self.prefix}-r"))

    @property
    def deleted_run(self):
        def make():
            run = self.pair.post("runs/create", {"experiment_id": self.experiment}).ref("run.info.run_id", f"{self.prefix}-d")
            self.pair.post("runs/delete", {"run_id": run})
            return run

        return self.once("deleted_run", make)

    @property
    def model(self):
        def make():
            name = f"{self.prefix}-m"
            self.pair.post("registered-models/create", {"name": name})
            self.pair.post("model-versions/create", {"name": name, "source": "s3://bucket/m"})
            self.pair.post("registered-models/alias", {"name": name, "alias": "best", "version": "1"})
            return name

        return self.once("model", make)

    @property
    def logged(self):
        fields = {"experiment_id": self.experiment, "name": "net"}
        return self.once("logged", lambda: self.pair.post("logged-models", fields).ref("model.info.model_id", f"{self.prefix}-l"))
