#!/usr/bin/env bash
# Bring back what backup.sh made: restore.sh NAME, into an empty $CRM_HOME and a database without Dagster's tables.
# Needs the same variables as backup.sh. Nothing that exists is overwritten.
set -euo pipefail

: "${1:?is the name of the backup}" "${CRM_HOME:?is the folder to restore to}" "${CRM_BACKUPS:?is the folder of backups}"
place=$CRM_BACKUPS/$1
(cd "$place" && sha256sum --check --quiet SHA256SUMS)

mkdir -p "$CRM_HOME"
if [[ -n $(ls -A "$CRM_HOME") ]]; then
    echo "error: $CRM_HOME is not empty; move away what is there" >&2
    exit 1
fi
known=$(psql --no-psqlrc --tuples-only --no-align --command \
    "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
if [[ $known != 0 ]]; then
    echo "error: database ${PGDATABASE:-} has tables; restore to an empty one" >&2
    exit 1
fi

pg_restore --exit-on-error --no-owner --dbname "${PGDATABASE:?is the database to restore to}" "$place/dagster.dump"
tar --extract --preserve-permissions --directory "$CRM_HOME" --file "$place/workspace.tar"
echo "restored $place to $CRM_HOME"
