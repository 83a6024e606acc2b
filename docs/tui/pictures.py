#!/usr/bin/env python3
"""Every screen of the terminal UI in `docs/tui`, from one real run.

usage: pictures.py TRIMTAB [FOLDER]

Runs `world.py` in FOLDER (a new one, which goes again, without it), waits for its canary, and draws each screen with `picture.py`. Needs tmux."""

import pathlib, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).parent
FRAUD, DEMAND = "sleep:2 text:/fraud Enter sleep:1", "sleep:2 text:/demand Enter sleep:1"

# Name, size, palette, theme, keys.
PICTURES = [
    ("fleet", "120x30", "dark", "dark", "sleep:3"),
    ("fleet-80", "80x24", "dark", "dark", "sleep:3"),
    ("fleet-light", "120x30", "light", "light", "sleep:3"),
    ("fleet-grouped", "220x60", "dark", "dark", "sleep:3 z z sleep:1"),
    ("model", "120x40", "dark", "dark", f"{DEMAND} Enter sleep:2"),
    ("model-light", "120x40", "light", "light", f"{DEMAND} Enter sleep:2"),
    ("model-80", "80x24", "dark", "dark", f"{FRAUD} Enter sleep:2"),
    ("rollout", "120x36", "dark", "default", f"{FRAUD} o sleep:2 j sleep:1"),
    ("drift", "120x36", "dark", "dark", f"{DEMAND} d sleep:2"),
    ("drift-light", "80x24", "light", "light", f"{FRAUD} d sleep:2"),
    ("timeline", "120x30", "dark", "dark", "sleep:2 t sleep:2 j sleep:1"),
    ("revert", "120x30", "dark", "dark", "sleep:2 t sleep:2 j R sleep:3"),
    ("plan", "120x30", "dark", "dark", "sleep:2 p sleep:2"),
    ("log", "120x30", "dark", "dark", f"{FRAUD} l sleep:2 / text:loss Enter sleep:1"),
    ("runs", "120x30", "dark", "dark", f"{DEMAND} r sleep:2 Space j Space c sleep:2"),
    ("help", "120x40", "light", "light", "sleep:2 ? sleep:1"),
    ("contexts", "120x30", "dark", "dark", "sleep:2 C sleep:2"),
]


def settings(state):
    """Both daemons of the world by name, and one that does not answer."""
    folder = state / "settings" / "trimtab"
    folder.mkdir(parents=True)
    growth = state.parent / "growth" / "state"
    lines = [f'risk = {{ state = "{state}" }}', f'growth = {{ state = "{growth}" }}', 'lab = { api = "http://127.0.0.1:9" }']
    (folder / "tui.toml").write_text("[contexts]\n" + "\n".join(lines) + "\n")
    return folder.parent


def draw(trimtab, state, only):
    known = settings(state)
    for name, size, palette, theme, keys in PICTURES:
        if only and name not in only:
            continue
        light = ["--light"] if palette == "light" else []
        # Nothing that was settled or left open before is in the picture.
        config = known if name == "contexts" else state / "none"
        settled = ["env", f"XDG_CONFIG_HOME={config}", f"XDG_STATE_HOME={state}/none/{name}", "COLORTERM=truecolor"]
        command = [*settled, trimtab, "--state", str(state), "tui", "--theme", theme]
        subprocess.run([sys.executable, str(HERE / "picture.py"), *light, size, str(HERE / f"{name}.svg"), keys, *command], check=True)
        print(name, flush=True)


def main():
    trimtab = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else scratch) / "world"
        world = subprocess.Popen([sys.executable, str(HERE / "world.py"), trimtab, str(folder)], stdout=subprocess.PIPE, text=True)
        try:
            if world.stdout.readline().strip() != "ready":
                sys.exit("the world did not come up")
            # Until the last minutes have something to show.
            time.sleep(120)
            draw(trimtab, folder / "state", sys.argv[3:])
        finally:
            world.terminate()
            world.wait()


main()
