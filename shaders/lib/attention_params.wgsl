// Shared by all attention kernels: parameters, tiles, and the rule that decides which keys a query attends to (docs/spec.md
// section 4). Query t of a run attends to key j if t ≥ (j + 1 - nulls)·factor - 1, so always to a null key: these are the first
// visible(t) = nulls + ⌊(t + 1)/factor⌋ keys. Keys are consecutive rows of kv from keys_at on; null keys have own rows.
// Each kernel binds `table` at a number of its choice.
struct Params {
    heads: u32, q_pitch: u32, kv_pitch: u32, y_pitch: u32,
    // Row and column of the first key and of the first value.
    k: vec2<u32>, v: vec2<u32>,
    key: vec2<u32>, threshold: u32, place: u32,
    keep: f32, scale: f32, tiles_at: u32, factor: u32,
    nulls: u32, quads: u32,
}
@group(0) @binding(0) var<uniform> p: Params;

// The queries in rows first to end, of which the first is query t of its run. The last of them attends to `keys` keys.
struct QueryTile { first: u32, end: u32, keys_at: u32, keys: u32, t: u32, origin: u32, sequence: u32, null_row: u32 }

// The keys j to j_end of a run, and the rows first to end of the queries that attend to at least one of them.
struct KeyTile { j: u32, j_end: u32, keys_at: u32, first: u32, end: u32, origin: u32, sequence: u32, null_row: u32 }

fn query_tile(i: u32) -> QueryTile {
    let at = p.tiles_at + 8u * i;
    return QueryTile(table[at], table[at + 1u], table[at + 2u], table[at + 3u],
                     table[at + 4u], table[at + 5u], table[at + 6u], table[at + 7u]);
}

fn key_tile(i: u32) -> KeyTile {
    let at = p.tiles_at + 8u * i;
    return KeyTile(table[at], table[at + 1u], table[at + 2u], table[at + 3u],
                   table[at + 4u], table[at + 5u], table[at + 6u], table[at + 7u]);
}

// The 64 rows of a tile from `part` on: a tile may have more rows than a group has invocations.
fn part_of_queries(tile: QueryTile, part: u32) -> QueryTile {
    var out = tile;
    out.first = tile.first + part;
    out.end = min(tile.end, out.first + 64u);
    out.t = tile.t + part;
    out.keys = visible(out.t + out.end - out.first - 1u);
    return out;
}

fn part_of_keys(tile: KeyTile, part: u32) -> KeyTile {
    var out = tile;
    out.j = tile.j + part;
    out.j_end = min(tile.j_end, out.j + 64u);
    out.first = tile.first + u32(max(seen_from(out.j), 0) - max(seen_from(tile.j), 0));
    return out;
}

fn visible(t: u32) -> u32 { return p.nulls + (t + 1u) / p.factor; }

// The first t that attends to key j; -1 for a null key.
fn seen_from(j: u32) -> i32 { return (i32(j) + 1 - i32(p.nulls)) * i32(p.factor) - 1; }

fn key_row(j: u32, keys_at: u32, null_row: u32) -> u32 { return select(keys_at + j, null_row, j < p.nulls); }
