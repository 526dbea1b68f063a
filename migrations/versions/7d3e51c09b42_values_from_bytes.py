"""Values follow from the bytes: SQL functions, and the views that use them.

Revision 7d3e51c09b42, after 5b1f0c9e7d24.
"""

from collections.abc import Iterator

from alembic import op

revision = "7d3e51c09b42"
down_revision = "5b1f0c9e7d24"
branch_labels = None
depends_on = None

# The formats are SIP-005's; the JSON forms are those of `clarion.chains.stacks.clarity_forms` and `payload_forms`, and
# what is derived is what `clarion.chains.stacks.derived` says: changes have to be made in both places. Positions are
# from 0. None of the functions catches errors: that would keep Postgres from running a query in parallel.

# An unsigned integer of four bytes.
WORD = """
CREATE FUNCTION clarion.word_at(data bytea, place integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ('x' || encode(substr(data, place + 1, 4), 'hex'))::bit(32)::bigint
"""

# An unsigned integer of some words.
NUMBER = """
CREATE FUNCTION clarion.number_at(data bytea, place integer, words integer) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    number numeric := 0;
BEGIN
    FOR i IN 0 .. words - 1 LOOP
        number := number * 4294967296 + clarion.word_at(data, place + 4 * i);
    END LOOP;
    RETURN number;
END $$
"""

# c32check: version and hash with a checksum, in base 32; a leading zero byte is one zero. All digits are one
# expression, which takes a quarter of the time of a loop.
DIGITS = " || ".join(f"substr(alphabet, substring(bits FROM {bit} FOR 5)::integer + 1, 1)" for bit in range(1, 195, 5))
ADDRESS = f"""
CREATE FUNCTION clarion.address_at(data bytea, place integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    alphabet CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    versioned bytea := substr(data, place + 1, 21);
    payload bytea := substr(versioned, 2) || substr(sha256(sha256(versioned)), 1, 4);
    bits bit(195) := (B'000' || ('x' || encode(payload, 'hex'))::bit(192))::bit(195);
    zeros integer := 0;
BEGIN
    WHILE zeros < 24 AND get_byte(payload, zeros) = 0 LOOP
        zeros := zeros + 1;
    END LOOP;
    RETURN 'S' || substr(alphabet, get_byte(data, place) + 1, 1) || repeat('0', zeros)
        || ltrim({DIGITS}, '0');
END $$
"""

# A Clarity value as JSON, and the position after it. A text that is none is {"undecodable": "0x.."}.
CLARITY = r"""
CREATE FUNCTION clarion.clarity_at(data bytea, place integer, OUT form jsonb, OUT behind integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 2000 AS $$
DECLARE
    utf8 CONSTANT text := '^([0-7].|c[2-9a-f][89ab].|d.[89ab].|e0[ab].[89ab].|e[1-9abcef]([89ab].){2}|ed[89].[89ab].'
        '|f0[9ab].([89ab].){2}|f[1-3]([89ab].){3}|f48.([89ab].){2})*$';
    tag integer := get_byte(data, place);
    content bytea;
    hex text;
    name text;
    count integer;
    inside record;
BEGIN
    behind := place + 1;
    IF tag IN (0, 1) THEN
        form := to_jsonb(clarion.number_at(data, behind, 4)
            - CASE WHEN tag = 0 AND get_byte(data, behind) > 127 THEN 2::numeric ^ 128 ELSE 0 END);
        behind := behind + 16;
    ELSIF tag IN (2, 13, 14) THEN
        count := clarion.word_at(data, behind);
        content := substr(data, behind + 5, count);
        hex := encode(content, 'hex');
        behind := behind + 4 + count;
        IF tag = 2 THEN
            form := to_jsonb('0x' || hex);
        ELSIF tag = 13 AND hex !~ '^(09|0a|0c|0d|[2-6].|7[0-9a-e])*$' OR tag = 14 AND hex !~ utf8 THEN
            form := jsonb_build_object('undecodable', '0x' || hex);
        ELSIF position('\x00'::bytea IN content) > 0 THEN
            form := jsonb_build_object('utf8', '0x' || hex);
        ELSE
            form := to_jsonb(convert_from(content, 'UTF8'));
        END IF;
    ELSIF tag IN (3, 4) THEN
        form := to_jsonb(tag = 3);
    ELSIF tag = 5 THEN
        form := to_jsonb(clarion.address_at(data, behind));
        behind := behind + 21;
    ELSIF tag = 6 THEN
        count := get_byte(data, behind + 21);
        form := to_jsonb(clarion.address_at(data, behind) || '.' || encode(substr(data, behind + 23, count), 'escape'));
        behind := behind + 22 + count;
    ELSIF tag IN (7, 8) THEN
        inside := clarion.clarity_at(data, behind);
        form := jsonb_build_object(CASE tag WHEN 7 THEN 'ok' ELSE 'err' END, inside.form);
        behind := inside.behind;
    ELSIF tag = 9 THEN
        form := 'null';
    ELSIF tag = 10 THEN
        inside := clarion.clarity_at(data, behind);
        form := CASE WHEN get_byte(data, behind) IN (9, 10) THEN jsonb_build_object('some', inside.form)
            ELSE inside.form END;
        behind := inside.behind;
    ELSIF tag = 11 THEN
        SELECT forms.form, forms.behind INTO form, behind FROM clarion.clarity_list_at(data, behind) forms;
    ELSIF tag = 12 THEN
        count := clarion.word_at(data, behind);
        behind := behind + 4;
        form := '{}';
        FOR field IN 1 .. count LOOP
            name := encode(substr(data, behind + 2, get_byte(data, behind)), 'escape');
            inside := clarion.clarity_at(data, behind + 1 + get_byte(data, behind));
            form := form || jsonb_build_object(name, inside.form);
            behind := inside.behind;
        END LOOP;
    ELSE
        RAISE EXCEPTION 'no Clarity value at byte %: type %', place, tag USING ERRCODE = 'data_exception';
    END IF;
END $$
"""

CLARITY_LIST = """
CREATE FUNCTION clarion.clarity_list_at(data bytea, place integer, OUT form jsonb, OUT behind integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 2000 AS $$
DECLARE
    forms jsonb[] := '{}';
    inside record;
BEGIN
    behind := place + 4;
    FOR entry IN 1 .. clarion.word_at(data, place)::integer LOOP
        inside := clarion.clarity_at(data, behind);
        forms := forms || inside.form;
        behind := inside.behind;
    END LOOP;
    form := to_jsonb(forms);
END $$
"""

EVENT_VALUE = """
CREATE FUNCTION clarion.event_value(kind text, value jsonb, raw bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 2000 AS $$
BEGIN
    IF raw IS NULL THEN
        RETURN value;
    ELSIF kind = 'print' AND value IS NULL THEN
        RETURN (clarion.clarity_at(raw, 0)).form;
    ELSIF kind IN ('nft_transfer', 'nft_mint', 'nft_burn') AND NOT value ? 'value' THEN
        RETURN value || jsonb_build_object('value', (clarion.clarity_at(raw, 0)).form);
    END IF;
    RETURN value;
END $$
"""

PAYLOAD_AT = """
CREATE FUNCTION clarion.payload_at(raw bytea) RETURNS integer
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 1000 AS $$
DECLARE
    place integer := 6; -- after version, chain id, authorization type
    kind integer;
BEGIN
    FOR signer IN 1 .. CASE get_byte(raw, 5) WHEN 5 THEN 2 ELSE 1 END LOOP
        kind := get_byte(raw, place);
        place := place + 37; -- hash mode, signer, nonce, fee
        IF kind IN (0, 2) THEN
            place := place + 66; -- key encoding, signature
        ELSE
            place := place + 4;
            FOR field IN 1 .. clarion.word_at(raw, place - 4)::integer LOOP
                place := place + CASE WHEN get_byte(raw, place) < 2 THEN 34 ELSE 66 END; -- public key, or signature
            END LOOP;
            place := place + 2; -- signatures required
        END IF;
    END LOOP;
    place := place + 6; -- anchor mode, post-condition mode, count of post-conditions
    FOR condition IN 1 .. clarion.word_at(raw, place - 4)::integer LOOP
        kind := get_byte(raw, place);
        place := place + 2 + CASE get_byte(raw, place + 1)
            WHEN 1 THEN 0 WHEN 2 THEN 21 ELSE 22 + get_byte(raw, place + 23) END;
        IF kind IN (1, 2) THEN
            place := place + 22 + get_byte(raw, place + 21); -- the asset's contract
            place := place + 1 + get_byte(raw, place); -- its name
        END IF;
        IF kind = 2 THEN
            place := (clarion.clarity_at(raw, place)).behind;
        END IF;
        place := place + CASE WHEN kind IN (2, 4) THEN 1 ELSE 9 END; -- code, and an amount
    END LOOP;
    RETURN place;
END $$
"""

TRANSACTION_PAYLOAD = """
CREATE FUNCTION clarion.transaction_payload(kind text, payload jsonb, raw bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 4000 AS $$
DECLARE
    place integer;
    name text;
    contract text;
    version integer;
    inside record;
BEGIN
    IF payload IS NOT NULL OR length(raw) = 0 OR kind NOT IN ('token_transfer', 'contract_call', 'smart_contract') THEN
        RETURN payload;
    END IF;
    place := clarion.payload_at(raw) + 1;
    IF kind = 'token_transfer' THEN
        inside := clarion.clarity_at(raw, place);
        RETURN jsonb_build_object(
            'recipient', inside.form,
            'amount', clarion.number_at(raw, inside.behind, 2),
            'memo', '0x' || encode(substr(raw, inside.behind + 9, 34), 'hex')
        );
    ELSIF kind = 'contract_call' THEN
        contract := clarion.address_at(raw, place) || '.'
            || encode(substr(raw, place + 23, get_byte(raw, place + 21)), 'escape');
        place := place + 22 + get_byte(raw, place + 21);
        name := encode(substr(raw, place + 2, get_byte(raw, place)), 'escape');
        place := place + 1 + get_byte(raw, place);
        inside := clarion.clarity_list_at(raw, place);
        RETURN jsonb_build_object('contract', contract, 'function', name, 'arguments', inside.form);
    END IF;
    IF get_byte(raw, place - 1) = 6 THEN
        version := get_byte(raw, place);
        place := place + 1;
    END IF;
    name := encode(substr(raw, place + 2, get_byte(raw, place)), 'escape');
    place := place + 1 + get_byte(raw, place);
    RETURN jsonb_build_object(
        'name', name,
        'clarity_version', version,
        'source', convert_from(substr(raw, place + 5, clarion.word_at(raw, place)::integer), 'UTF8')
    );
END $$
"""

FUNCTIONS = {
    "word_at(bytea, integer)": WORD,
    "number_at(bytea, integer, integer)": NUMBER,
    "address_at(bytea, integer)": ADDRESS,
    "clarity_at(bytea, integer)": CLARITY,
    "clarity_list_at(bytea, integer)": CLARITY_LIST,
    "event_value(text, jsonb, bytea)": EVENT_VALUE,
    "payload_at(bytea)": PAYLOAD_AT,
    "transaction_payload(text, jsonb, bytea)": TRANSACTION_PAYLOAD,
}

ASSET = "coalesce(e.value ->> 'asset', 'STX') AS asset"
SENDER = "e.value ->> 'sender' AS sender"
RECIPIENT = "e.value ->> 'recipient' AS recipient"
AMOUNT = "(e.value ->> 'amount')::numeric AS amount"
TOKEN = (
    "CASE WHEN length(e.raw) <= 256 THEN '0x' || encode(e.raw, 'hex') "
    "ELSE 'sha256:' || encode(sha256(e.raw), 'hex') END AS token"
)
STX_MOVEMENTS = ("stx_transfer", "stx_mint", "stx_burn")
MOVEMENTS = (*STX_MOVEMENTS, "ft_transfer", "ft_mint", "ft_burn", "nft_transfer", "nft_mint", "nft_burn")

EVENT_VIEW = """
CREATE OR REPLACE VIEW clarion.{name} AS
SELECT e.chain, e.height, e.block_hash, e.tx_index, e.event_index, b.time AS block_time, x.tx_id, {columns}
FROM clarion.event e
JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash
LEFT JOIN clarion.block b ON b.chain = e.chain AND b.hash = e.block_hash
LEFT JOIN clarion.transaction x ON x.chain = e.chain AND x.height = e.height AND x.block_hash = e.block_hash
    AND x.tx_index = e.tx_index
WHERE e.chain = 'stacks' AND e.kind {kinds}
"""

CONTRACT_CALL = """
CREATE OR REPLACE VIEW clarion.contract_call AS
SELECT t.chain, t.height, t.block_hash, t.tx_index, b.time AS block_time, t.tx_id, t.sender, t.sponsor, t.nonce, t.fee,
    t.contract, t.function, {payload} -> 'arguments' AS arguments,
    (
        SELECT jsonb_object_agg(a.value ->> 'name', given.arguments -> (a.ordinality - 1)::integer)
        FROM (SELECT {payload} -> 'arguments' AS arguments OFFSET 0) given
        CROSS JOIN clarion.contract_interface i
        CROSS JOIN LATERAL jsonb_array_elements(i.interface -> 'functions') f
        CROSS JOIN LATERAL jsonb_array_elements(f.value -> 'args') WITH ORDINALITY a
        WHERE i.contract = t.contract AND f.value ->> 'name' = t.function
    ) AS named_arguments,
    t.status, t.result, t.vm_error
FROM clarion.transaction t
JOIN clarion.canonical_block c ON c.chain = t.chain AND c.hash = t.block_hash
LEFT JOIN clarion.block b ON b.chain = t.chain AND b.hash = t.block_hash
WHERE t.chain = 'stacks' AND t.kind = 'contract_call'
"""

CONTRACT = """
CREATE OR REPLACE VIEW clarion.contract AS
SELECT t.chain, t.contract, t.sender AS deployer, {payload} ->> 'name' AS name,
    ({payload} ->> 'clarity_version')::bigint AS clarity_version, {payload} ->> 'source' AS source, i.interface,
    t.height, t.block_hash, t.tx_index, b.time AS block_time, t.tx_id
FROM clarion.transaction t
JOIN clarion.canonical_block c ON c.chain = t.chain AND c.hash = t.block_hash
LEFT JOIN clarion.block b ON b.chain = t.chain AND b.hash = t.block_hash
LEFT JOIN clarion.contract_interface i ON i.contract = t.contract
WHERE t.chain = 'stacks' AND t.kind = 'smart_contract' AND t.status = 'success'
"""


def views(value: str, payload: str) -> Iterator[str]:
    token = [TOKEN, f"{value} -> 'value' AS value"]
    columns = {
        "nft_transfer": [ASSET, "e.contract", *token, SENDER, RECIPIENT],
        "nft_mint": [ASSET, "e.contract", *token, RECIPIENT],
        "nft_burn": [ASSET, "e.contract", *token, SENDER],
        "print": ["e.contract", "e.topic", f"{value} AS value", "e.raw", "x.sender"],
    }
    for kind, listed in columns.items():
        yield EVENT_VIEW.format(name=kind, columns=", ".join(listed), kinds=f"= '{kind}'")
    kinds = ", ".join(f"'{kind}'" for kind in MOVEMENTS)
    listed = ["e.kind", ASSET, "e.contract", SENDER, RECIPIENT, AMOUNT, *token]
    yield EVENT_VIEW.format(name="asset_event", columns=", ".join(listed), kinds=f"IN ({kinds})")
    yield CONTRACT_CALL.format(payload=payload)
    yield CONTRACT.format(payload=payload)


def upgrade() -> None:
    for definition in FUNCTIONS.values():
        op.execute(definition)
    value = "clarion.event_value(e.kind, e.value, e.raw)"
    for definition in views(value, "clarion.transaction_payload(t.kind, t.payload, t.raw)"):
        op.execute(definition)


def downgrade() -> None:
    for definition in views("e.value", "t.payload"):
        op.execute(definition)
    for signature in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION clarion.{signature}")
