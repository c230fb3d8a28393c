// What the device keeps from one optimizer step to the next; the host reads it as DeviceState of src/ops/optimizer.rs.
struct State {
    // The sum of the losses since the last step, and that of the last step.
    loss_sum: f32,
    loss: f32,
    // The norm of all gradients, and the factor by which clipping scales them.
    norm: f32,
    scale: f32,
    // 1 after a norm or loss that is not finite, and the step at which it occurred.
    halted: u32,
    halted_step: u32,
    // As loss_sum and loss, for the examples of a task.
    task_sum: f32,
    task_loss: f32,
}
