"""Times queries in DuckDB: python duckdb.py DIRECTORY RUNS.

The directory holds setup.sql, which makes and fills the tables, and 1.sql, 2.sql, ...; a line `NUMBER MILLISECONDS`
is printed for each query: the best of so many runs.
"""

import pathlib
import sys
import time

import duckdb

directory = pathlib.Path(sys.argv[1])
runs = int(sys.argv[2])
connection = duckdb.connect()
# It would be printed between the times.
connection.execute("set enable_progress_bar = false")
connection.execute((directory / "setup.sql").read_text())
number = 1
while (file := directory / f"{number}.sql").exists():
    query = file.read_text()
    best = float("inf")
    for _ in range(runs):
        since = time.perf_counter()
        connection.execute(query).fetchall()
        best = min(best, time.perf_counter() - since)
    print(number, best * 1e3, flush=True)
    number += 1
