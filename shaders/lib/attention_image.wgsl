// Shared by the attention kernels of CPU adapters. Operands are images, a texel is four channels, and a group is one subgroup
// of 8. A block of 64 keys (or queries) is held in named values, eight of them per lane; a loop runs over the others.
#import quad_u64
#import reduce
#import dropout_words
#import attention_params

// An index past the end of every buffer, which gives 0 and drops stores: see Variant::relies_on_robust_access.
const NONE = 0x0fffffffu;
