// A matrix that a row-wise kernel writes in a buffer and reads from its image copy.
@group(0) @binding($N) var<storage, read_write> $NAME: array<Pack>;
@group(0) @binding($M) var $NAME_image: texture_storage_2d<rgba32float, read>;
fn load_$NAME(row: u32, i: u32, packs: u32) -> Floats8 {
    return texels8(textureLoad($NAME_image, vec2<u32>(2u * i, row)), textureLoad($NAME_image, vec2<u32>(2u * i + 1u, row)));
}
