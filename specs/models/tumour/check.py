"""Checks the data before anything is trained on it: rows, columns, numbers, labels."""

import csv
import json
import math
import os
import sys

with open(os.environ["TRIMTAB_INPUT_TRAIN"], newline="") as file:
    header, *rows = csv.reader(file)

columns = len(header)
problems = []
if len(rows) < 100:
    problems.append(f"only {len(rows)} rows")
for number, row in enumerate(rows, start=2):
    if len(row) != columns:
        problems.append(f"line {number}: {len(row)} columns instead of {columns}")
        continue
    try:
        if not all(math.isfinite(float(cell)) for cell in row):
            problems.append(f"line {number}: a value is not finite")
    except ValueError as error:
        problems.append(f"line {number}: {error}")
    if row[-1] not in ("0", "1"):
        problems.append(f"line {number}: the label is {row[-1]!r}, not 0 or 1")

print(f"{len(rows)} rows, {columns} columns, {len(problems)} problems")
for problem in problems[:20]:
    print(problem, file=sys.stderr)
with open(os.environ["TRIMTAB_METRICS"], "a") as file:
    file.write(json.dumps({"rows": len(rows)}) + "\n")
sys.exit(1 if problems else 0)
