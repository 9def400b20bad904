//! Autotuning: times candidate kernels for a network's convolutions and caches the choice.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Instant;

use crate::error::{Error, Result};
use crate::files::{FileLock, read_at_most, replace};
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::gpu::shaders;
use crate::nn::Architecture;
use crate::ops::conv2d::tune::{RunPlan, Verdict, run_plan, tune_by};
use crate::ops::conv2d::{Conv2dGeometry, DeviceKind, Direction, Plan, Plans, Target, Tiling};
use crate::tensor::DType;
use crate::tensor::Device;

/// Time budget after which [`Autotune::Quick`] starts no further trial.
const QUICK: Duration = Duration::from_secs(8);
/// Increment to invalidate the choices of older versions when the key does not change.
const FORMAT: u32 = 2;
/// Largest cache file that is read, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// Extent of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Autotune {
    /// No search: the default plans of the kind of device.
    Off,
    /// The most promising candidates, for some seconds at most, the most expensive layers first.
    Quick,
    /// All candidates.
    Full,
}

impl Autotune {
    /// The default: a quick search on a GPU. On the CPU and on software renderers the default plans come from measurements.
    pub fn usual(device: &Device) -> Self {
        match DeviceKind::of(device) {
            DeviceKind::Gpu => Autotune::Quick,
            DeviceKind::Cpu | DeviceKind::SoftwareGpu => Autotune::Off,
        }
    }
}

/// The choice of a plan for one layer's product.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Name of the first layer with this product.
    pub layer: String,
    /// Which product.
    pub direction: Direction,
    /// The convolution.
    pub geometry: Conv2dGeometry,
    /// The chosen plan.
    pub chosen: Plan,
    /// The trials; empty if the choice was cached.
    pub trials: Vec<(Plan, Verdict)>,
}

/// Settings of the search for plans.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Extent of the search.
    pub mode: Autotune,
    /// The cache file of choices.
    pub cache: Option<&'a Path>,
    /// Whether to ignore cached choices and search again.
    pub again: bool,
}

/// The plans for a network with operands of type `dtype` and batches of `batch` images: taken from the cache, or found by trials
/// and then cached. Products of the same shape are tuned once. `observe` is called with each choice.
///
/// # Errors
/// [`Error::NoKernel`] if no candidate computed a product correctly; and if the layers do not fit together, or the device or the
/// host fails. A cache that cannot be read or written is not an error.
#[cfg(not(target_family = "wasm"))]
pub fn autotune(
    device: &Device,
    dtype: DType,
    architecture: &Architecture,
    batch: usize,
    training: bool,
    search: Search<'_>,
    observe: &mut dyn FnMut(&Tuning),
) -> Result<Plans> {
    block_on(autotune_async(device, dtype, architecture, batch, training, search, observe))
}

/// [`autotune`] where the thread must not block.
///
/// # Errors
/// As for [`autotune`].
pub async fn autotune_async(
    device: &Device,
    dtype: DType,
    architecture: &Architecture,
    batch: usize,
    training: bool,
    search: Search<'_>,
    observe: &mut dyn FnMut(&Tuning),
) -> Result<Plans> {
    autotune_by(&run_plan, device, dtype, architecture, batch, training, search, observe).await
}

/// Like [`autotune`], with products that `run` computes.
#[expect(clippy::too_many_arguments, reason = "those of `autotune`, and a replacement for tests")]
async fn autotune_by(
    run: RunPlan<'_>,
    device: &Device,
    dtype: DType,
    architecture: &Architecture,
    batch: usize,
    training: bool,
    search: Search<'_>,
    observe: &mut dyn FnMut(&Tuning),
) -> Result<Plans> {
    let Search { mode, cache, again } = search;
    let mut plans = Plans::default();
    if mode == Autotune::Off {
        return Ok(plans);
    }
    let target = Target::new(device, dtype);
    let mut cache = Cache::read(cache, device);
    // Returned at the end, so that the other choices are reported and cached.
    let mut failed = None;
    let deadline = Instant::now() + if mode == Autotune::Quick { QUICK } else { Duration::from_secs(24 * 3600) };
    for (layer, direction, geometry) in problems(architecture, batch, training)? {
        let candidates = Plan::candidates(target, direction, &geometry, mode == Autotune::Quick);
        // A full search includes the quick one.
        let remembered = [Autotune::Full, mode].into_iter().find_map(|mode| {
            let plan = cache.get(&key(dtype, direction, &geometry, mode))?;
            Plan::candidates(target, direction, &geometry, mode == Autotune::Quick).contains(&plan).then_some(plan)
        });
        let key = key(dtype, direction, &geometry, mode);
        let (chosen, trials) = match remembered.filter(|_| !again) {
            Some(plan) => (plan, Vec::new()),
            None => {
                let mut trials = tune_by(run, device, dtype, direction, &geometry, &candidates, deadline).await?;
                if fastest(&trials).or_else(|| untried(&trials)).is_none() && mode == Autotune::Quick {
                    // One of the other candidates may be correct.
                    let mut others = Plan::candidates(target, direction, &geometry, false);
                    others.retain(|plan| !candidates.contains(plan));
                    let deadline = Instant::now() + QUICK;
                    trials.extend(tune_by(run, device, dtype, direction, &geometry, &others, deadline).await?);
                }
                let fastest = fastest(&trials);
                // Candidates without a trial for lack of time are tried next time.
                if trials.iter().all(|(_, verdict)| *verdict != Verdict::Untried) {
                    cache.put(key, fastest);
                }
                // An untried candidate is not known to be wrong.
                let chosen = fastest.or_else(|| untried(&trials)).unwrap_or_else(|| {
                    failed.get_or_insert_with(|| no_kernel(&layer, direction, &trials));
                    candidates[0]
                });
                (chosen, trials)
            }
        };
        plans.choose(direction, &geometry, chosen);
        observe(&Tuning { layer, direction, geometry, chosen, trials });
    }
    cache.write();
    if let Device::Gpu(gpu) = device {
        // Training cannot use most of the trials' memory.
        gpu.release_unused();
    }
    failed.map_or(Ok(plans), Err)
}

/// The products of a network's convolutions, each shape once, the most expensive first.
pub(crate) fn problems(
    architecture: &Architecture,
    batch: usize,
    training: bool,
) -> Result<Vec<(String, Direction, Conv2dGeometry)>> {
    let mut problems: Vec<(String, Direction, Conv2dGeometry)> = Vec::new();
    for (index, (layer, geometry)) in architecture.convolutions(batch)?.into_iter().enumerate() {
        for direction in Direction::ALL {
            // The cotangent of the images is never needed.
            let needed =
                direction == Direction::Forward || training && (index > 0 || direction != Direction::BackwardInput);
            if needed && problems.iter().all(|(_, d, g)| (*d, *g) != (direction, geometry)) {
                problems.push((layer.clone(), direction, geometry));
            }
        }
    }
    problems.sort_by_key(|(_, _, g)| std::cmp::Reverse(g.products() * g.out_pixels() * g.out_c));
    Ok(problems)
}

/// The name of a product in a run's `config.json`.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn problem_name(layer: &str, direction: Direction) -> String {
    format!("{layer} {}", direction.kernel())
}

fn fastest(trials: &[(Plan, Verdict)]) -> Option<Plan> {
    let timed = trials.iter().filter_map(|(plan, verdict)| match verdict {
        Verdict::Timed(time) => Some((*plan, *time)),
        _ => None,
    });
    timed.min_by_key(|&(_, time)| time).map(|(plan, _)| plan)
}

/// The first untried candidate, except cooperative matrices, which must be checked before use.
fn untried(trials: &[(Plan, Verdict)]) -> Option<Plan> {
    let is_usable = |plan: &Plan| !matches!(plan.tiling, Tiling::Cooperative { .. });
    trials.iter().find(|(plan, verdict)| *verdict == Verdict::Untried && is_usable(plan)).map(|&(plan, _)| plan)
}

fn no_kernel(layer: &str, direction: Direction, trials: &[(Plan, Verdict)]) -> Error {
    let reasons = trials.iter().map(|(plan, verdict)| match verdict {
        Verdict::Wrong(error) => format!("{plan} is wrong (error {error:e})"),
        Verdict::Failed(message) => format!("{plan} failed ({message})"),
        Verdict::Timed(_) | Verdict::Untried => plan.to_string(),
    });
    Error::NoKernel {
        kernel: direction.kernel(),
        layer: layer.to_owned(),
        reasons: reasons.collect::<Vec<_>>().join("; "),
    }
}

/// The cache key of a product: everything but the device that determines a plan's speed.
fn key(dtype: DType, direction: Direction, g: &Conv2dGeometry, mode: Autotune) -> String {
    format!("{mode:?} {dtype:?} {direction:?} {g:?}")
}

/// The cache key of a device: adapter, driver, and the code of the kernels.
fn device_key(device: &Device) -> String {
    let mut hasher = DefaultHasher::new();
    shaders::sources().for_each(|source| source.hash(&mut hasher));
    format!("{}; version {} {:016x}", device.description(), env!("CARGO_PKG_VERSION"), hasher.finish())
}

/// Path of the cache file, in the user's cache folder.
#[cfg(not(target_family = "wasm"))]
pub fn default_cache() -> Option<PathBuf> {
    dirs::cache_dir().map(|folder| folder.join("cifar-gpu").join("autotune.json"))
}

#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct File {
    format: u32,
    /// Device, then problem, then the plan's name.
    pub(super) devices: BTreeMap<String, BTreeMap<String, String>>,
}

impl File {
    /// The file of these bytes, if it is of this format.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<File>(bytes).ok().filter(|file| file.format == FORMAT)
    }

    /// The file at `path`. One that is absent, broken or of another format counts as empty.
    fn read(path: &Path) -> Self {
        let bytes = read_at_most(path, MOST_BYTES).ok().flatten();
        bytes.and_then(|bytes| File::parse(&bytes)).unwrap_or_default()
    }
}

/// Cached choices of earlier runs.
struct Cache {
    path: Option<PathBuf>,
    file: File,
    device: String,
    /// New choices, by the keys of their products.
    found: BTreeMap<String, String>,
}

impl Cache {
    fn read(path: Option<&Path>, device: &Device) -> Self {
        let file = path.map(File::read).unwrap_or_default();
        Cache { path: path.map(Path::to_owned), file, device: device_key(device), found: BTreeMap::new() }
    }

    fn get(&self, key: &str) -> Option<Plan> {
        let saved = || self.file.devices.get(&self.device)?.get(key);
        self.found.get(key).or_else(saved)?.parse().ok()
    }

    fn put(&mut self, key: String, plan: Option<Plan>) {
        if let Some(plan) = plan {
            self.found.insert(key, plan.to_string());
        }
    }

    /// Adds new choices to the file. If that fails, the next run repeats the trials.
    fn write(self) {
        let Cache { path: Some(path), device, found, .. } = self else { return };
        if found.is_empty() {
            return;
        }
        let write = || -> Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(Error::io("making", folder))?;
            }
            // Another process may have written since: its choices stay.
            let lock = path.with_added_extension("lock");
            let lock = FileLock::wait_for(&lock).map_err(Error::io("locking", &lock))?;
            let mut file = File { format: FORMAT, ..File::read(&path) };
            file.devices.entry(device).or_default().extend(found);
            let json = serde_json::to_vec_pretty(&file).map_err(|e| Error::Setting(e.to_string()))?;
            let written = replace(&path, &json);
            lock.remove();
            written
        };
        let _ = write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv2d::tune::Operands;
    use crate::tensor::Precision;

    #[test]
    fn the_choices_of_runs_at_the_same_time_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/autotune.json");
        let device = Device::cpu();
        let geometry = Conv2dGeometry::new(&[1, 8, 8, 4], &[3, 3, 4, 8], 1, crate::ops::Padding::Same).unwrap();
        let plan = Plan::usual(Target::new(&device, DType::F32), Direction::Forward, &geometry);
        let mut caches: Vec<_> = (0..8).map(|_| Cache::read(Some(&path), &device)).collect();
        for (number, cache) in caches.iter_mut().enumerate() {
            cache.put(number.to_string(), Some(plan));
            assert_eq!(cache.get(&number.to_string()), Some(plan));
        }
        std::thread::scope(|scope| caches.into_iter().for_each(|cache| drop(scope.spawn(|| cache.write()))));
        let cache = Cache::read(Some(&path), &device);
        let kept: Vec<_> = (0..8).map(|number: u32| cache.get(&number.to_string())).collect();
        assert_eq!(kept, [Some(plan); 8]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "the lock stayed");
    }

    /// The wrong plan is the first candidate and by far the fastest.
    #[test]
    fn a_plan_that_computes_wrong_is_dropped_and_named() {
        let lenet5 = Architecture::by_name("lenet5", 10).unwrap();
        let device = Device::cpu();
        let dtype = Precision::F32.dtype();
        let tune = |is_wrong: &dyn Fn(Plan, Plan) -> bool| {
            let target = Target::new(&device, dtype);
            let run = |operands: &Operands, direction: Direction, plan: Plan| {
                let results = run_plan(operands, direction, plan)?;
                let usual = Plan::usual(target, direction, operands.geometry());
                if is_wrong(plan, usual) {
                    return results.iter().map(|result| device.zeros(result.shape(), result.dtype())).collect();
                }
                Ok(results)
            };
            let mut tunings = Vec::new();
            let search = Search { mode: Autotune::Full, cache: None, again: false };
            let mut hear = |tuning: &Tuning| tunings.push(tuning.clone());
            let found = block_on(autotune_by(&run, &device, dtype, &lenet5, 2, true, search, &mut hear));
            (found, tunings)
        };
        let (plans, tunings) = tune(&|plan, usual| plan == usual);
        // With this as the only plan, none is correct.
        let (left, only): (Vec<_>, Vec<_>) = tunings.iter().partition(|tuning| tuning.trials.len() > 1);
        assert!(!left.is_empty() && !only.is_empty(), "{tunings:?}");
        for Tuning { chosen, trials, .. } in &left {
            assert!(matches!(trials[0].1, Verdict::Wrong(error) if error > 0.5), "{trials:?}");
            assert!(*chosen != trials[0].0 && trials.iter().any(|(plan, _)| plan == chosen), "{trials:?}");
        }
        let message = plans.unwrap_err().to_string();
        assert!(message.contains("is wrong (error 1e0)"), "{message}");
    }

    #[test]
    fn what_was_found_wrong_is_never_chosen() {
        let [usual, other, last] =
            ["direct-8x8", "direct-4x16", "direct-4x8"].map(|name| name.parse::<Plan>().unwrap());
        let mut trials =
            vec![(usual, Verdict::Wrong(0.5)), (other, Verdict::Failed("refused".into())), (last, Verdict::Untried)];
        assert_eq!((fastest(&trials), untried(&trials)), (None, Some(last)));
        trials.pop();
        assert_eq!(untried(&trials), None);
        let cooperative = ("cooperative-64x32".parse().unwrap(), Verdict::Untried);
        assert_eq!(untried(&[cooperative]), None);
        let message = no_kernel("conv1", Direction::Forward, &trials).to_string();
        assert!(message.contains("conv2d_forward of conv1") && message.contains("direct-8x8 is wrong"), "{message}");
    }
}
