//! Runs training steps without waiting for the device.

mod locate;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Instant;

use crate::error::{Error, Result};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::nn::Network;
use crate::ops::StepState;
use crate::ops::batch_assembly::{Augmentation, Normalization};
use crate::ops::elementwise;
use crate::ops::gradient_clipping::gradient_clipping;
use crate::ops::loss_scaling::{loss_scaling, sum_of_squares};
use crate::ops::record_metrics::record_metrics;
use crate::ops::softmax_cross_entropy::{ClassWeights, SoftmaxCrossEntropy};
use crate::ops::update_guard::{Guarded, update_guard};
use crate::ops::weight_average::weight_average;
use crate::optim::{LossScaler, Optimizer, ScalerState};
use crate::tape::{Gradients, Tape, Var};
use crate::tensor::Replay;
use crate::tensor::{DType, Tensor, VIEW_ALIGNMENT};
use crate::tensor::{Device, Submission};
use crate::train::dataset::DeviceDataset;
use crate::train::step::{HostTime, OnNonFinite, StepMetrics, StepSettings, StepperState};
use crate::train::teacher::Teacher;

/// Steps whose metrics stay on the device before they are read back.
const HISTORY_SLOTS: usize = 32;
/// Numbers of a step's metrics.
const HISTORY_WIDTH: usize = 4;
/// Maximum number of unfinished steps when another is submitted: one runs while the next waits.
const STEPS_IN_FLIGHT: usize = 2;
/// The same for a software renderer, whose driver blocks a submission until the previous step is done.
const STEPS_IN_FLIGHT_SOFTWARE: usize = 1;
/// Work that is kept for replay: the usual batch and an epoch's last one, each of which may have three kinds of parts.
const KEPT_PARTS: usize = 6;
/// Offset of the image indices in the words written before each step.
const INDICES_START: usize = VIEW_ALIGNMENT / 4;

/// What determines the work of a part of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartKind {
    /// Images of the part.
    images: usize,
    /// Images of the batch.
    batch: usize,
    /// Whether it is the batch's first part.
    is_first: bool,
    /// Whether it is the batch's last part, which ends with the update.
    is_last: bool,
}

impl PartKind {
    /// Whether it is the whole batch.
    fn is_whole(self) -> bool {
        self.images == self.batch
    }

    fn share(self) -> f32 {
        self.images as f32 / self.batch as f32
    }
}

/// A part of a batch, or all of it.
#[derive(Debug)]
struct Part {
    kind: PartKind,
    /// The host's input to each step, in one write: the step's state and the image indices.
    told: Tensor,
    state: Tensor,
    indices: Tensor,
    /// Its share of the batch: the cotangent of its loss.
    share: Tensor,
    replay: Replay<()>,
}

impl Part {
    fn new(device: &Device, kind: PartKind) -> Result<Self> {
        let told = device.allocate(&[INDICES_START + kind.images], DType::U32)?;
        Ok(Part {
            kind,
            state: told.view(0, &[StepState::WORDS])?,
            indices: told.view(INDICES_START, &[kind.images])?,
            told,
            share: device.tensor(&[1], &[kind.share()])?,
            replay: Replay::default(),
        })
    }

    fn tell(&self, state: &StepState, indices: &[u32]) -> Result<()> {
        let mut words = vec![0; INDICES_START];
        words[..StepState::WORDS].copy_from_slice(&state.words());
        words.extend(indices);
        self.told.write_u32(&words)
    }
}

/// Trains a network on a data set, step by step, and keeps the steps' metrics on the device until they are read.
///
/// On a GPU the commands of a step are captured once for a batch size and replayed.
#[derive(Debug)]
pub struct Stepper<'a> {
    network: &'a Network,
    images: &'a DeviceDataset,
    optimizer: Optimizer,
    /// Present if cotangents are 16 bits wide.
    scaler: Option<LossScaler>,
    /// The network with the weights' running average, if there is one.
    average: Option<Network>,
    teacher: Option<Teacher>,
    /// The sum of the gradients of a batch's parts, if batches have several.
    accumulated: Option<Tensor>,
    history: Tensor,
    /// Whether a step went wrong, after which no update is made.
    halted: Tensor,
    settings: StepSettings,
    class_weights: Option<ClassWeights>,
    step: u64,
    /// The host's data on the steps in the history: step, rate, images.
    waiting: Vec<(u64, f64, usize)>,
    in_flight: VecDeque<Submission>,
    most_in_flight: usize,
    /// The most recently used is last.
    parts: Vec<Part>,
    host_time: HostTime,
}

impl<'a> Stepper<'a> {
    /// A stepper at step 0, for the network whose parameters the optimizer was made for.
    ///
    /// # Errors
    /// If the device has no memory, or a weight of a class is negative or not finite.
    pub fn new(
        network: &'a Network,
        images: &'a DeviceDataset,
        optimizer: Optimizer,
        settings: StepSettings,
    ) -> Result<Self> {
        let weights = settings.class_weights.as_deref();
        let class_weights = weights.map(|weights| ClassWeights::new(network.device(), weights));
        Ok(Stepper {
            network,
            images,
            optimizer,
            scaler: (network.dtype() == DType::F16).then(|| LossScaler::new(network.device())).transpose()?,
            average: settings.average_decay.map(|_| network.copy()).transpose()?,
            teacher: None,
            accumulated: None,
            history: network.device().zeros(&[HISTORY_SLOTS, HISTORY_WIDTH], DType::F32)?,
            halted: network.device().zeros(&[1], DType::U32)?,
            class_weights: class_weights.transpose()?,
            settings,
            step: 0,
            waiting: Vec::new(),
            in_flight: VecDeque::new(),
            most_in_flight: match network.device() {
                Device::Gpu(gpu) if gpu.is_software() => STEPS_IN_FLIGHT_SOFTWARE,
                _ => STEPS_IN_FLIGHT,
            },
            parts: Vec::new(),
            host_time: HostTime::default(),
        })
    }

    /// The same with a teacher.
    ///
    /// # Errors
    /// [`Error::Shape`] if the teacher's images or classes are others, or it is on another device.
    pub fn with_teacher(self, teacher: Teacher) -> Result<Self> {
        teacher.check(self.network)?;
        Ok(Stepper { teacher: Some(teacher), ..self })
    }

    /// Number of the next step.
    pub fn next_step(&self) -> u64 {
        self.step
    }

    /// Whether the history is full: [`Stepper::drain`] must come before the next [`Stepper::step`].
    pub fn is_full(&self) -> bool {
        self.waiting.len() == HISTORY_SLOTS
    }

    /// Host time of the steps so far.
    pub fn host_time(&self) -> HostTime {
        self.host_time
    }

    /// The loss scale and the number of skipped steps, if cotangents are 16 bits wide. Waits for the device.
    #[cfg(not(target_family = "wasm"))]
    pub fn scaler_state(&self) -> Result<Option<ScalerState>> {
        block_on(self.scaler_state_async())
    }

    /// [`Stepper::scaler_state`] where the thread must not block.
    pub async fn scaler_state_async(&self) -> Result<Option<ScalerState>> {
        match &self.scaler {
            Some(scaler) => Ok(Some(scaler.state_async().await?)),
            None => Ok(None),
        }
    }

    /// The network as trained so far: with the averaged weights, if there is an average.
    pub fn result(&self) -> &Network {
        self.average.as_ref().unwrap_or(self.network)
    }

    /// The tensors that change from step to step, by name.
    fn tensors(&self) -> BTreeMap<String, &Tensor> {
        let mut tensors = BTreeMap::from([("parameters".to_owned(), self.network.parameters().flat())]);
        tensors.extend(self.average.iter().map(|average| ("average".to_owned(), average.parameters().flat())));
        for (name, network) in [("statistics", Some(self.network)), ("average_statistics", self.average.as_ref())] {
            let statistics = network.and_then(Network::statistics);
            tensors.extend(statistics.map(|statistics| (name.to_owned(), statistics.flat())));
        }
        tensors.extend(self.scaler.iter().map(|scaler| ("loss_scaling".to_owned(), scaler.tensor())));
        tensors
            .extend(self.optimizer.tensors().into_iter().map(|(name, tensor)| (format!("optimizer.{name}"), tensor)));
        tensors
    }

    /// The state needed to resume training exactly. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn state(&self) -> Result<StepperState> {
        block_on(self.state_async())
    }

    /// [`Stepper::state`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Stepper::state`].
    pub async fn state_async(&self) -> Result<StepperState> {
        let mut tensors = BTreeMap::new();
        for (name, tensor) in self.tensors() {
            tensors.insert(name, tensor.to_vec_async().await?);
        }
        Ok(StepperState { step: self.step, tensors })
    }

    /// Restores such a state.
    ///
    /// # Errors
    /// [`Error::Setting`] if it is of other settings or another network; nothing is changed then.
    pub fn restore(&mut self, state: &StepperState) -> Result<()> {
        let tensors = self.tensors();
        let mine: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.len())).collect();
        let theirs: Vec<_> = state.tensors.iter().map(|(name, values)| (name.as_str(), values.len())).collect();
        if mine != theirs {
            return Err(Error::Setting(format!("the state holds {theirs:?}, this training has {mine:?}")));
        }
        for (tensor, values) in tensors.values().zip(state.tensors.values()) {
            tensor.write(values)?;
        }
        self.halted.write_u32(&[0])?;
        self.step = state.step;
        self.optimizer.set_updates(state.step);
        Ok(())
    }

    /// Forward, loss, backward and update on the images at `indices` in epoch number `epoch` from 0, submitted together, or in parts
    /// of [`StepSettings::micro_batch`] images. If the loss, the gradients or the weights are not finite, the update is called off; after
    /// that, if the settings or the weights are such, all updates are, until [`Stepper::restore`].
    ///
    /// # Errors
    /// If the device fails, an index is past the last image, or the history is full.
    #[cfg(not(target_family = "wasm"))]
    pub fn step(&mut self, indices: &[u32], epoch: u32, lr: f64) -> Result<()> {
        block_on(self.step_async(indices, epoch, lr))
    }

    /// [`Stepper::step`] where the thread must not block. Waits while the device has several steps to do.
    ///
    /// # Errors
    /// As for [`Stepper::step`].
    pub async fn step_async(&mut self, indices: &[u32], epoch: u32, lr: f64) -> Result<()> {
        let start = Instant::now();
        if self.is_full() {
            return Err(Error::Tape("the metrics' history is full: drain it first".into()));
        }
        self.images.check(indices)?;
        let mut state = self.step_state(self.step, epoch, lr);
        state.slot = self.waiting.len() as u32;
        state.average_share = self.settings.average_share(self.step + 1);
        self.optimizer.begin_step(&mut state);
        let size = self.part_size(indices.len());
        if size < indices.len() && self.accumulated.is_none() {
            self.accumulated = Some(self.network.device().empty(self.network.parameters().flat().shape())?);
        }
        let (mut is_new, mut waiting) = (false, Duration::ZERO);
        for (number, own) in indices.chunks(size).enumerate() {
            let first = number * size;
            let kind = PartKind {
                images: own.len(),
                batch: indices.len(),
                is_first: first == 0,
                is_last: first + own.len() == indices.len(),
            };
            let mut part = self.part(kind)?;
            is_new |= !part.replay.is_captured();
            part.tell(&StepState { first_image: first as u32, share: kind.share(), ..state }, own)?;
            let Part { state, indices, share, replay, .. } = &mut part;
            replay.run(self.network.device(), || self.work(kind, state, indices, share))?;
            self.parts.push(part);
            waiting += self.wait_for_room().await?;
            self.in_flight.push_back(self.network.device().submit()?);
        }
        self.waiting.push((self.step, lr, indices.len()));
        self.step += 1;
        if !is_new {
            self.host_time.add(start.elapsed() - waiting, waiting);
        }
        Ok(())
    }

    /// Images of a part of such a batch.
    fn part_size(&self, batch: usize) -> usize {
        self.settings.micro_batch.unwrap_or(usize::MAX).min(batch).max(1)
    }

    fn step_state(&self, step: u64, epoch: u32, lr: f64) -> StepState {
        // The generator's counter has 32 bits; wrapping repeats numbers after four billion steps.
        StepState { epoch, ..StepState::new(self.settings.seed, step as u32, lr as f32) }
    }

    /// Waits until the device can take another step, and returns the waiting time.
    async fn wait_for_room(&mut self) -> Result<Duration> {
        let start = Instant::now();
        while self.in_flight.len() >= self.most_in_flight
            && let Some(oldest) = self.in_flight.pop_front()
        {
            oldest.wait_async().await?;
        }
        Ok(start.elapsed())
    }

    /// Takes such a part from the cache, or creates it in place of the least recently used one.
    fn part(&mut self, kind: PartKind) -> Result<Part> {
        if let (Device::Cpu(cpu), Some(last)) = (self.network.device(), self.parts.last())
            && last.kind.images != kind.images
        {
            cpu.release_free();
        }
        if let Some(known) = self.parts.iter().position(|part| part.kind == kind) {
            return Ok(self.parts.remove(known));
        }
        if self.parts.len() == KEPT_PARTS {
            self.parts.remove(0);
        }
        Part::new(self.network.device(), kind)
    }

    /// The work of a part, the same each time: all inputs that differ are in `state` and `indices`.
    fn work(&self, kind: PartKind, state: &Tensor, indices: &Tensor, share: &Tensor) -> Result<()> {
        let parameters = self.network.parameters();
        let loss = self.loss(state, indices, &mut |_, _| Ok(()))?;
        let gradients = self.gradients(&loss, (!kind.is_whole()).then_some(share))?;
        let own = gradients.of_all(parameters)?;
        let gradients = match &self.accumulated {
            Some(sum) if !kind.is_whole() => {
                match kind.is_first {
                    true => sum.copy_from(own)?,
                    false => sum.copy_from(&elementwise::add(sum, own)?)?,
                }
                sum
            }
            _ => own,
        };
        if kind.is_last { self.update(state, gradients) } else { Ok(()) }
    }

    /// The gradients of this share of the loss, scaled if losses are.
    fn gradients(&self, loss: &Var, share: Option<&Tensor>) -> Result<Gradients> {
        match (&self.scaler, share) {
            (None, None) => loss.backward(),
            (None, Some(share)) => loss.backward_from(share),
            (Some(scaler), None) => loss.backward_from(scaler.scale()),
            (Some(scaler), Some(share)) => loss.backward_from(&elementwise::scale(scaler.scale(), share)?),
        }
    }

    /// The mean loss of the images at `indices`, whose metrics are recorded. `observe` is shown the layers' outputs.
    fn loss(&self, state: &Tensor, indices: &Tensor, observe: &mut dyn FnMut(&str, &Var) -> Result<()>) -> Result<Var> {
        let &StepSettings { dropout, augmentation, label_smoothing, .. } = &self.settings;
        let changes = (augmentation != Augmentation::NONE).then_some((&augmentation, state));
        let batch = self.images.assemble(indices, self.network.dtype(), changes)?;
        let tape = Tape::recording(dropout.then(|| state.clone()));
        let logits = self.network.forward_observed(&tape, &tape.constant(&batch.images), observe)?;
        let criterion = SoftmaxCrossEntropy::new(&batch.labels)?
            .smoothing(label_smoothing)
            .class_weights(self.class_weights.as_ref());
        let correct = criterion.correct().clone();
        let mut loss = logits.apply(criterion)?;
        if let Some(teacher) = &self.teacher {
            let pixels = |normalization: &Normalization, dtype| {
                Ok(self.images.assemble_as(normalization, indices, dtype, changes)?.images)
            };
            loss = teacher.mixed(&loss, &logits, pixels)?;
        }
        record_metrics(state, loss.tensor(), &correct, &self.history)?;
        Ok(loss)
    }

    /// Updates the parameters and their average.
    fn update(&self, state: &Tensor, gradients: &Tensor) -> Result<()> {
        let parameters = self.network.parameters();
        let squares = sum_of_squares(gradients)?;
        if let Some(scaler) = &self.scaler {
            loss_scaling(&squares, scaler.tensor(), state)?;
        }
        let guarded = Guarded {
            gradients: &squares,
            parameters: &sum_of_squares(parameters.flat())?,
            history: &self.history,
            halted: &self.halted,
        };
        update_guard(self.settings.on_non_finite == OnNonFinite::Stop, guarded, state)?;
        if let Some(max_norm) = self.settings.clip_norm {
            gradient_clipping(max_norm, &squares, state)?;
        }
        self.optimizer.step_from(state, parameters, gradients)?;
        let Some(average) = &self.average else { return Ok(()) };
        if let (Some(from), Some(to)) = (self.network.statistics(), average.statistics()) {
            weight_average(state, from.flat(), to.flat())?;
        }
        weight_average(state, parameters.flat(), average.parameters().flat())
    }

    /// Waits for the steps so far and returns their metrics; [`StepMetrics::check`] checks that they are finite.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_family = "wasm"))]
    pub fn drain(&mut self) -> Result<Vec<StepMetrics>> {
        block_on(self.drain_async())
    }

    /// [`Stepper::drain`] where the thread must not block.
    ///
    /// # Errors
    /// As for [`Stepper::drain`].
    pub async fn drain_async(&mut self) -> Result<Vec<StepMetrics>> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let history = self.history.to_vec_async().await?;
        self.in_flight.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let steps = waiting.into_iter().zip(history.chunks_exact(HISTORY_WIDTH)).map(|((step, lr, images), slot)| {
            StepMetrics {
                step,
                lr,
                loss: slot[0],
                images,
                correct: slot[1] as usize,
                gradient_norm: slot[2],
                weight_norm: slot[3],
                is_scaled: self.scaler.is_some(),
            }
        });
        Ok(steps.collect())
    }
}
