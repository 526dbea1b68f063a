"""A narrower index on the change log's keys: of their hashes.

Revision c4a1d9e07b35, after 7d3e51c09b42.
"""

import sqlalchemy as sa
from alembic import op

revision = "c4a1d9e07b35"
down_revision = "7d3e51c09b42"
branch_labels = None
depends_on = None


# What the index on the keys of changes holds in their place: eight bytes, where a key may be long. Different keys may
# have the same; a query compares the keys too.
KEY_HASH = """
CREATE FUNCTION clarion.key_hash("table" text, key jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN jsonb_hash_extended(key, hashtextextended("table", 0))
"""

# The text of a query for a projection table's rows as they were at a canonical block. The query has three parts: rows
# that nothing has changed since; what rows that were changed since were then; and what rows that are gone were then.
# Its key columns are plain columns of what it reads, so that conditions on the key reach the indexes.
# SQLSTATE ZT001: there is no such block; ZT002: it is not kept; ZT003: the table is none of a live projection.
AS_OF_QUERY = """
CREATE OR REPLACE FUNCTION clarion.as_of_query(projection regclass, height bigint, chain text DEFAULT 'stacks')
RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    table_name text;
    since bigint;
    live bigint;
    block_sequence bigint;
    kept_from bigint;
    own_columns text;
    past_columns text;
    gone_columns text;
    key_values text;
    key_of_gone text;
    key_equal text;
    deletes text;
    past text;
BEGIN
    SELECT n.nspname || '.' || c.relname, p.generation, p.since_sequence INTO table_name, live, since
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN clarion.protocol p ON p.name = n.nspname AND p.chain = as_of_query.chain
        AND p.generation > 0 AND p.fingerprint <> '' AND p.stopped_sequence IS NULL
    WHERE c.oid = projection;
    IF table_name IS NULL THEN
        RAISE EXCEPTION '% is no table of a protocol that is indexed on % now', projection, chain
            USING ERRCODE = 'ZT003', HINT = 'clarion.protocol says which protocols are live.';
    END IF;
    SELECT k.sequence INTO block_sequence FROM clarion.canonical_block k
    WHERE k.chain = as_of_query.chain AND k.height = clarion.canonical_height(as_of_query.height, as_of_query.chain);
    SELECT k.from_height INTO kept_from FROM clarion.kept k
    WHERE k.chain = as_of_query.chain AND k."table" = table_name AND k.from_height > height;
    IF kept_from IS NOT NULL THEN
        RAISE EXCEPTION '% at block % is not kept any more: it can be read as of block % and later',
            table_name, height, kept_from USING ERRCODE = 'ZT002';
    END IF;

    WITH key AS (
        SELECT a.attnum, place FROM pg_index i, unnest(i.indkey::int[]) WITH ORDINALITY AS part(attnum, place)
        JOIN pg_attribute a USING (attnum) WHERE i.indrelid = projection AND i.indisprimary AND a.attrelid = projection
    ), listed AS (
        SELECT a.attnum, a.attname, key.place, format_type(a.atttypid, a.atttypmod) AS type,
            CASE WHEN a.atttypid = 'jsonb'::regtype THEN '(g.__key -> %s)' ELSE '(g.__key ->> %s)::%s' END AS part
        FROM pg_attribute a LEFT JOIN key USING (attnum)
        WHERE a.attrelid = projection AND a.attnum > 0 AND NOT a.attisdropped
    )
    SELECT string_agg(format('t.%I', attname), ', ' ORDER BY attnum),
        string_agg(format('%s.%I', CASE WHEN place IS NULL THEN 'r' ELSE 't' END, attname), ', ' ORDER BY attnum),
        string_agg(format('%s.%I', CASE WHEN place IS NULL THEN 'r' ELSE 'd' END, attname), ', ' ORDER BY attnum),
        string_agg(format('t.%I', attname), ', ' ORDER BY place) FILTER (WHERE place IS NOT NULL),
        string_agg(format(part, place - 1, type) || format(' AS %I', attname), ', ' ORDER BY place)
            FILTER (WHERE place IS NOT NULL),
        string_agg(format('t.%1$I = d.%1$I', attname), ' AND ' ORDER BY place) FILTER (WHERE place IS NOT NULL)
    INTO own_columns, past_columns, gone_columns, key_values, key_of_gone, key_equal FROM listed;

    deletes := format(
        'SELECT c.key AS __key FROM clarion.change c WHERE c.chain = %1$L AND c."table" = %2$L AND c.op = ''delete'' '
        'AND c.sequence > %3$s AND NOT c.retraction', chain, table_name, block_sequence);
    past := format(
        '(SELECT c.after, c.height FROM clarion.change c JOIN clarion.canonical_block k ON k.chain = c.chain '
        'AND k.height = c.height AND k.hash = c.block_hash WHERE c.chain = %1$L AND c."table" = %2$L AND c.key = {} '
        '{key_hash}AND c.sequence > %3$s AND c.height <= %4$s AND NOT c.retraction ORDER BY c.sequence DESC LIMIT 1)',
        chain, table_name, since, height);
    IF EXISTS (
        SELECT FROM clarion.history h
        WHERE h.chain = as_of_query.chain AND h."table" = table_name AND h.generation = live
    ) THEN
        deletes := deletes || format(
            ' UNION SELECT h.key FROM clarion.history h WHERE h.chain = %1$L AND h."table" = %2$L '
            'AND h.generation = %3$s AND h.after IS NULL AND h.height > %4$s', chain, table_name, live, height);
        past := format(
            '(SELECT l.after FROM (%5$s UNION ALL (SELECT h.after, h.height FROM clarion.history h '
            'WHERE h.chain = %1$L AND h."table" = %2$L AND h.generation = %3$s AND h.key = {} AND h.height <= %4$s '
            'ORDER BY h.height DESC LIMIT 1)) l ORDER BY l.height DESC LIMIT 1)',
            chain, table_name, live, height, past);
    END IF;

    RETURN format(
        'SELECT %1$s FROM %4$s t WHERE t.updated_height <= %5$s '
        'UNION ALL SELECT %2$s FROM %4$s t CROSS JOIN LATERAL %6$s p '
        'CROSS JOIN LATERAL jsonb_populate_record(NULL::%4$s, p.after) r '
        'WHERE t.updated_height > %5$s AND p.after IS NOT NULL '
        'UNION ALL SELECT %3$s FROM (SELECT g.__key, %9$s FROM (SELECT DISTINCT c.__key FROM (%7$s) c) g) d '
        'CROSS JOIN LATERAL %8$s p CROSS JOIN LATERAL jsonb_populate_record(NULL::%4$s, p.after) r '
        'WHERE p.after IS NOT NULL AND NOT EXISTS (SELECT FROM %4$s t WHERE %10$s)',
        own_columns, past_columns, gone_columns,
        (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = projection),
        height, replace(past, '{}', format('jsonb_build_array(%s)', key_values)), deletes,
        replace(past, '{}', 'd.__key'),
        key_of_gone, key_equal);
END $$
"""

OF_THE_SAME_HASH = 'AND clarion.key_hash(c."table", c.key) = clarion.key_hash(%2$L, {}) '


def upgrade() -> None:
    op.execute(KEY_HASH)
    op.drop_index("change_by_key", table_name="change", schema="clarion")
    op.create_index(
        "change_by_key",
        "change",
        [sa.text('clarion.key_hash("table", key)'), "sequence"],
        unique=False,
        schema="clarion",
    )
    replace_as_of_query(OF_THE_SAME_HASH)


def downgrade() -> None:
    replace_as_of_query("")
    op.drop_index("change_by_key", table_name="change", schema="clarion")
    op.create_index("change_by_key", "change", ["chain", "table", "key", "sequence"], unique=False, schema="clarion")
    op.execute("DROP FUNCTION clarion.key_hash")


def replace_as_of_query(key_hash: str) -> None:
    op.execute(sa.text(AS_OF_QUERY.replace("{key_hash}", key_hash).replace(":", "\\:")))
