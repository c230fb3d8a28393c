// In the loop of an image attention kernel: s, the dot products of the lane's eight block members k0 … k7 with the row that is
// distributed over a0 …; and with BACKWARD g, those of v0 … v7 with the row in d0 ….
#for c in 0..8
var s${c} = 0.0;
#if BACKWARD
var g${c} = 0.0;
#end
#end
#for q in 0..DQ
let b${q} = subgroupShuffle(a${q/8}, ${q%8}u);
#if BACKWARD
let f${q} = subgroupShuffle(d${q/8}, ${q%8}u);
#end
#for i in 0..4
#for c in 0..8
s${c} += b${q}[${i}] * k${c}_${q}[${i}];
#end
#if BACKWARD
#for c in 0..8
g${c} += f${q}[${i}] * v${c}_${q}[${i}];
#end
#end
#end
#end
