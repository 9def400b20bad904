// What changes from step to step; see `ops::StepState`.
struct StepState {
    seed: vec2<u32>,
    step: u32,
    slot: u32,
    learning_rate: f32,
    first_moment_correction: f32,
    second_moment_correction: f32,
    gradient_factor: f32,
    epoch: u32,
    average_share: f32,
    first_image: u32,
    share: f32,
}
