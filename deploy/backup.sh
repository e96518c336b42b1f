#!/usr/bin/env bash
# Back up a workspace and Dagster's database: backup.sh [NAME], into $CRM_BACKUPS/NAME, by default the time in UTC.
# Needs CRM_HOME, CRM_BACKUPS and PostgreSQL's own variables (PGHOST, PGUSER, PGPASSWORD, PGDATABASE). Stop the daemon
# and wait for its runs first, so that tables and history belong together; a run that is going is refused.
set -euo pipefail

name=${1:-$(date --utc +%Y-%m-%dT%H%M%SZ)}
: "${CRM_HOME:?is the workspace to back up}" "${CRM_BACKUPS:?is the folder for backups}"
place=$CRM_BACKUPS/$name
if [[ -e $place ]]; then
    echo "error: $place exists; choose another name" >&2
    exit 1
fi

going=$(psql --no-psqlrc --tuples-only --no-align --command \
    "SELECT count(*) FROM runs WHERE status IN ('STARTING', 'STARTED', 'CANCELING')")
if [[ $going != 0 ]]; then
    echo "error: $going runs are going; stop the daemon, wait for their end or cancel them, and try again" >&2
    exit 1
fi

partial=$CRM_BACKUPS/.$name.partial
rm -rf "$partial"
mkdir -p "$partial"
# Data of customers stands in it.
chmod 700 "$partial"
pg_dump --format custom --file "$partial/dagster.dump"
# Left out is what the next run makes again. Times count to the nanosecond: by them a delivery is known as ingested,
# and a day as clean. Only the format `posix` keeps them.
tar --create --format posix --directory "$CRM_HOME" --file "$partial/workspace.tar" \
    --exclude './warehouse.duckdb*' --exclude './.spill' --exclude './lake/.staging' --exclude './dagster' .
(cd "$partial" && sha256sum dagster.dump workspace.tar > SHA256SUMS)
mv "$partial" "$place"
echo "$place"
