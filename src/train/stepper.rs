//! Runs training steps without waiting for the device.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::nn::Network;
use crate::ops::StepState;
use crate::ops::batch_assembly::Augmentation;
use crate::ops::gradient_clipping::gradient_clipping;
use crate::ops::loss_scaling::sum_of_squares;
use crate::ops::record_metrics::record_metrics;
use crate::ops::softmax_cross_entropy::{ClassWeights, SoftmaxCrossEntropy};
use crate::ops::weight_average::weight_average;
use crate::optim::{LossScaler, Optimizer, ScalerState};
use crate::tape::Tape;
use crate::tensor::Replay;
use crate::tensor::{DType, Tensor, VIEW_ALIGNMENT};
use crate::tensor::{Device, Submission};
use crate::train::dataset::DeviceDataset;

/// Steps whose metrics stay on the device before they are read back.
const HISTORY_SLOTS: usize = 32;
/// Maximum number of unfinished steps when another is submitted: one runs while the next waits.
const STEPS_IN_FLIGHT: usize = 2;
/// The same for a software renderer, whose driver blocks a submission until the previous step is done.
const STEPS_IN_FLIGHT_SOFTWARE: usize = 1;
/// Batch sizes whose steps are kept for replay: the usual one, and that of an epoch's last batch.
const KEPT_SIZES: usize = 2;
/// Offset of the image indices in the words written before each step.
const INDICES_START: usize = VIEW_ALIGNMENT / 4;

/// Settings of a step besides the optimizer's.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StepSettings {
    /// Seed of dropout and augmentation.
    pub seed: u64,
    /// Whether dropout is on.
    pub dropout: bool,
    /// Random changes to the images.
    pub augmentation: Augmentation,
    /// Share of each label's probability that is spread over all classes.
    pub label_smoothing: f32,
    /// Weights of the classes in the loss; `None` for 1 each.
    pub class_weights: Option<Vec<f32>>,
    /// Maximum global gradient norm.
    pub clip_norm: Option<f32>,
    /// Decay of the running average of the weights, reached after many steps.
    pub average_decay: Option<f64>,
}

impl StepSettings {
    /// These settings with some changes.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Weight of the current parameters in the running average at this update, counted from 1. As in TensorFlow, it is larger at
    /// first.
    fn average_share(&self, update: u64) -> f32 {
        let update = update as f64;
        self.average_decay.map_or(1.0, |decay| 1.0 - decay.min((1.0 + update) / (10.0 + update))) as f32
    }
}

/// Resumable training state: all values that change from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepperState {
    /// Number of the next step.
    pub step: u64,
    /// Elements of parameters, optimizer, loss scaling and average, by name.
    pub tensors: BTreeMap<String, Vec<f32>>,
}

/// Metrics of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// Number of the step from 0.
    pub step: u64,
    /// Learning rate.
    pub lr: f64,
    /// Mean loss of the batch in nats.
    pub loss: f32,
    /// Images of the batch.
    pub images: usize,
    /// Number of correct predictions.
    pub correct: usize,
}

impl StepMetrics {
    /// # Errors
    /// [`Error::Diverged`] if the loss is not finite.
    pub fn check(&self) -> Result<()> {
        match self.loss.is_finite() {
            true => Ok(()),
            false => Err(Error::Diverged { step: self.step, loss: self.loss }),
        }
    }
}

/// Host time of training steps, without the first step of each batch size, which sets up the later ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTime {
    /// Steps counted.
    pub steps: u64,
    /// Time in [`Stepper::step`] without the waiting.
    pub busy: Duration,
    /// Minimum over the steps: the cost on an otherwise idle host.
    pub least_busy: Duration,
    /// Time in [`Stepper::step`] waiting for the device.
    pub waiting: Duration,
}

impl HostTime {
    fn add(&mut self, busy: Duration, waiting: Duration) {
        self.least_busy = if self.steps == 0 { busy } else { self.least_busy.min(busy) };
        self.steps += 1;
        self.busy += busy;
        self.waiting += waiting;
    }

    /// Mean host time per step; zero if none was counted.
    pub fn busy_per_step(&self) -> Duration {
        u32::try_from(self.steps).ok().and_then(|steps| self.busy.checked_div(steps)).unwrap_or_default()
    }
}

/// A step of one batch size.
#[derive(Debug)]
struct SizedStep {
    /// The host's input to each step, in one write: the step's state and the image indices.
    told: Tensor,
    state: Tensor,
    indices: Tensor,
    replay: Replay<()>,
}

impl SizedStep {
    fn new(device: &Device, size: usize) -> Result<Self> {
        let told = device.allocate(&[INDICES_START + size], DType::U32)?;
        Ok(SizedStep {
            state: told.view(0, &[StepState::WORDS])?,
            indices: told.view(INDICES_START, &[size])?,
            told,
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
    history: Tensor,
    settings: StepSettings,
    class_weights: Option<ClassWeights>,
    step: u64,
    /// The host's data on the steps in the history: step, rate, images.
    waiting: Vec<(u64, f64, usize)>,
    in_flight: VecDeque<Submission>,
    most_in_flight: usize,
    /// The most recently used is last.
    sized: Vec<SizedStep>,
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
            history: network.device().zeros(&[HISTORY_SLOTS, 2], DType::F32)?,
            class_weights: class_weights.transpose()?,
            settings,
            step: 0,
            waiting: Vec::new(),
            in_flight: VecDeque::new(),
            most_in_flight: match network.device() {
                Device::Gpu(gpu) if gpu.is_software() => STEPS_IN_FLIGHT_SOFTWARE,
                _ => STEPS_IN_FLIGHT,
            },
            sized: Vec::new(),
            host_time: HostTime::default(),
        })
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
    pub fn scaler_state(&self) -> Result<Option<ScalerState>> {
        self.scaler.as_ref().map(LossScaler::state).transpose()
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
    pub fn state(&self) -> Result<StepperState> {
        let tensors = self.tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.to_vec()?)));
        Ok(StepperState { step: self.step, tensors: tensors.collect::<Result<_>>()? })
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
        self.step = state.step;
        self.optimizer.set_updates(state.step);
        Ok(())
    }

    /// Forward, loss, backward and update on the images at `indices` in epoch number `epoch` from 0, submitted together.
    ///
    /// # Errors
    /// If the device fails, an index is past the last image, or the history is full.
    pub fn step(&mut self, indices: &[u32], epoch: u32, lr: f64) -> Result<()> {
        let start = Instant::now();
        if self.is_full() {
            return Err(Error::Tape("the metrics' history is full: drain it first".into()));
        }
        self.images.check(indices)?;
        let mut sized = self.sized_step(indices.len())?;
        let first = !sized.replay.is_captured();
        // The generator's counter has 32 bits; wrapping repeats numbers after four billion steps.
        let mut state = StepState::new(self.settings.seed, self.step as u32, lr as f32);
        state.epoch = epoch;
        state.slot = self.waiting.len() as u32;
        state.average_share = self.settings.average_share(self.step + 1);
        self.optimizer.begin_step(&mut state);
        sized.tell(&state, indices)?;
        sized.replay.run(self.network.device(), || self.work(&sized.state, &sized.indices))?;
        self.sized.push(sized);
        let waiting = self.wait_for_room()?;
        self.in_flight.push_back(self.network.device().submit()?);
        self.waiting.push((self.step, lr, indices.len()));
        self.step += 1;
        if !first {
            self.host_time.add(start.elapsed() - waiting, waiting);
        }
        Ok(())
    }

    /// Waits until the device can take another step, and returns the waiting time.
    fn wait_for_room(&mut self) -> Result<Duration> {
        let start = Instant::now();
        while self.in_flight.len() >= self.most_in_flight
            && let Some(oldest) = self.in_flight.pop_front()
        {
            oldest.wait()?;
        }
        Ok(start.elapsed())
    }

    /// Takes the step of this batch size from the cache, or creates it in place of the least recently used one.
    fn sized_step(&mut self, size: usize) -> Result<SizedStep> {
        if let (Device::Cpu(cpu), Some(last)) = (self.network.device(), self.sized.last())
            && last.indices.len() != size
        {
            cpu.release_free();
        }
        if let Some(known) = self.sized.iter().position(|sized| sized.indices.len() == size) {
            return Ok(self.sized.remove(known));
        }
        if self.sized.len() == KEPT_SIZES {
            self.sized.remove(0);
        }
        SizedStep::new(self.network.device(), size)
    }

    /// The work of a step, the same each time: all inputs that differ are in `state` and `indices`.
    fn work(&self, state: &Tensor, indices: &Tensor) -> Result<()> {
        let &StepSettings { dropout, augmentation, label_smoothing, clip_norm, .. } = &self.settings;
        let changes = (augmentation != Augmentation::NONE).then_some((&augmentation, state));
        let batch = self.images.assemble(indices, self.network.dtype(), changes)?;
        let tape = Tape::recording(dropout.then(|| state.clone()));
        let logits = self.network.forward(&tape, &tape.constant(&batch.images))?;
        let criterion = SoftmaxCrossEntropy::new(&batch.labels)?
            .smoothing(label_smoothing)
            .class_weights(self.class_weights.as_ref());
        let correct = criterion.correct().clone();
        let loss = logits.apply(criterion)?;
        record_metrics(state, loss.tensor(), &correct, &self.history)?;
        let gradients = match &self.scaler {
            Some(scaler) => scaler.backward(&loss, state, self.network.parameters())?,
            None => loss.backward()?,
        };
        let parameters = self.network.parameters();
        if let (Some(max_norm), Some(gradients)) = (clip_norm, gradients.flat(parameters.flat())) {
            gradient_clipping(max_norm, &sum_of_squares(gradients)?, state)?;
        }
        self.optimizer.step(state, parameters, &gradients)?;
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
    pub fn drain(&mut self) -> Result<Vec<StepMetrics>> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let history = self.history.to_vec()?;
        self.in_flight.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let steps = waiting.into_iter().zip(history.chunks_exact(2)).map(|((step, lr, images), slot)| StepMetrics {
            step,
            lr,
            loss: slot[0],
            images,
            correct: slot[1] as usize,
        });
        Ok(steps.collect())
    }
}
