// Sums and maxima over the lanes of a row, in a group of ROWS·GROUP invocations that holds ROWS rows, GROUP lanes each. Two steps in a
// fixed order: FAN lanes are added, then GROUP/FAN of these sums. Every invocation has to call row_sum and row_max, and
// each gets the result of its row.
var<workgroup> row_lanes: array<vec2<f32>, ${ROWS*GROUP}>;
var<workgroup> row_parts: array<vec2<f32>, ${ROWS*GROUP/FAN}>;

fn row_sum(x: vec2<f32>, row: u32, lane: u32) -> vec2<f32> {
    row_lanes[row * GROUP + lane] = x;
    workgroupBarrier();
    let part = lane % ${GROUP/FAN}u;
    var sum = row_lanes[row * GROUP + part];
    #for k in 1..FAN
    sum += row_lanes[row * GROUP + part + ${k*(GROUP/FAN)}u];
    #end
    if lane < ${GROUP/FAN}u { row_parts[row * ${GROUP/FAN}u + lane] = sum; }
    workgroupBarrier();
    var total = row_parts[row * ${GROUP/FAN}u];
    #for k in 1..GROUP/FAN
    total += row_parts[row * ${GROUP/FAN}u + ${k}u];
    #end
    return total;
}

fn row_max(x: f32, row: u32, lane: u32) -> f32 {
    row_lanes[row * GROUP + lane].x = x;
    workgroupBarrier();
    let part = lane % ${GROUP/FAN}u;
    var most = row_lanes[row * GROUP + part].x;
    #for k in 1..FAN
    most = max(most, row_lanes[row * GROUP + part + ${k*(GROUP/FAN)}u].x);
    #end
    if lane < ${GROUP/FAN}u { row_parts[row * ${GROUP/FAN}u + lane].x = most; }
    workgroupBarrier();
    var all = row_parts[row * ${GROUP/FAN}u].x;
    #for k in 1..GROUP/FAN
    all = max(all, row_parts[row * ${GROUP/FAN}u + ${k}u].x);
    #end
    return all;
}
