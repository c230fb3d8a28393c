// What the attention kernels of CPU adapters share. Operands are images, a texel is four channels; a group is one subgroup
// of 8. A block of 64 keys (or queries) is held in named values, eight of them a lane, and a loop walks the others.
#import quad_u64
#import reduce
#import dropout_words
#import attention_params

// An index past the end of every buffer: robust access drops the store.
const NONE = 0x0fffffffu;
