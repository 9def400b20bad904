//! Weights and a picture in, classes out.
//!
//! ```sh
//! cargo run --release --example classify -- data/weights/lenet5.safetensors cat.jpg
//! ```

use std::path::PathBuf;

use cifar_gpu::data::load_picture;
use cifar_gpu::{Backend, Classifier, Device, DeviceChoice, Error, Result};

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [weights, picture] = paths.as_slice() else {
        return Err(Error::Setting("give a weights file and a picture".into()));
    };
    let (device, _) = Device::open(DeviceChoice::Auto, Backend::Primary)?;
    let classifier = Classifier::open(weights, &device)?;
    let image = load_picture(picture, classifier.input())?;
    for prediction in classifier.predict(&[image])? {
        for class in prediction.ranked().into_iter().take(3) {
            println!("{:12} {:5.1} %", classifier.class_names()[class], 100.0 * prediction.probabilities[class]);
        }
    }
    Ok(())
}
