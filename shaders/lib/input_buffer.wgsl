// A matrix that a row-wise kernel reads from a buffer.
@group(0) @binding($N) var<storage, read> $NAME: array<Pack>;
fn load_$NAME(row: u32, i: u32, packs: u32) -> Floats8 {
    return unpack8($NAME[row * packs + i]);
}
