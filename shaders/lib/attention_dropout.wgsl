// Dropout of weights that an invocation of forward and backward_q holds: {row}_{four keys}, as in attention_tiles.
#import dropout_words

// With few registers, before the products: what Philox needs is free again while they run, and a bit a weight is left.
#block draw_kept()
#if DROPOUT
#if FEW_REGISTERS
var kept = 0u;
// A bound that compilers do not know keeps them from computing the four rows at once.
for (var r = 0u; r < min(max(tile.end, row) - row, 4u); r++) {
    #for g in 0..KEYS/(4*LANES)
    kept |= kept_bits(tile.origin + block + 4u * x + ${4*g*LANES}u, tile.origin + tile.t + 4u * y + r, tile.sequence,
                      p.place + group.y * 65536u, p.key, p.threshold) << (r * ${KEYS/LANES}u + ${4*g}u);
    #end
}
#end
#end
#end

#block drop(weight, r, g)
#if DROPOUT
#if FEW_REGISTERS
$weight${$r}_${$g} *= keep_of_bits(kept >> ${$r*(KEYS/LANES)+4*$g}u, p.keep);
#else
$weight${$r}_${$g} *= keep4(tile.origin + block + 4u * x + ${4*$g*LANES}u, tile.origin + tile.t + 4u * y + ${$r}u, tile.sequence,
                            p.place + group.y * 65536u, p.key, p.threshold, p.keep);
#end
#end
#end
