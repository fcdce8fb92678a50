"""The tables of TPC-H as Parquet files, and its queries, by DuckDB.

Takes two arguments: a directory, which is there, and the scale. Writes TABLE.parquet for each table and queries.json, a list
of [number, text].
"""

import json
import sys

import duckdb


def main():
    directory, scale = sys.argv[1], float(sys.argv[2])
    database = duckdb.connect()
    database.execute("SET threads = 2")
    database.execute("CALL dbgen(sf = %s)" % scale)
    for (table,) in database.execute("SHOW TABLES").fetchall():
        # Groups small enough that each executor gets some of them.
        database.execute("COPY %s TO '%s/%s.parquet' (FORMAT parquet, ROW_GROUP_SIZE 60000)" % (table, directory, table))
    queries = database.execute("SELECT query_nr, query FROM tpch_queries() ORDER BY query_nr").fetchall()
    with open(directory + "/queries.json", "w") as file:
        json.dump(queries, file)


if __name__ == "__main__":
    main()
