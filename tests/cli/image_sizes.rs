//! Images of other sizes than 32×32 pixels, and gray ones, through everything that the program does.

use std::collections::HashMap;

use image::{GrayImage, Luma, Rgb, RgbImage};
use predicates::str::contains;
use serde_json::{Value, json};

use super::{IMAGE_BYTES, Sandbox, png};

/// Few steps of a small network, with all that is made of images on the device.
const RECIPE: &str =
    "train --arch lenet5 --batch-size 8 --lr 0.01 --epochs 2 --augment strong --log-every 1 --data photos";

/// `photos/<class>/<number>.png`, three classes of six pictures: stripes of a class's width, in sizes and colors of their own.
fn with_photos() -> Sandbox {
    let sandbox = Sandbox::new();
    for (class, stripe) in [("ant", 3), ("bee", 7), ("cow", 20)] {
        for number in 0..6 {
            let (width, height) = (30 + 17 * number, 90 - 11 * number);
            let picture = RgbImage::from_fn(width, height, |x, y| {
                if x / stripe % 2 == 0 { Rgb([200, 40 * number as u8, y as u8]) } else { Rgb([10, 90, x as u8]) }
            });
            sandbox.write(&format!("photos/{class}/{number}.png"), &png(picture));
        }
    }
    sandbox
}

fn config(sandbox: &Sandbox, run: &str) -> Value {
    serde_json::from_slice(&sandbox.read(&format!("{run}/config.json"))).unwrap()
}

/// The metadata of a weights file.
fn metadata(weights: &[u8]) -> HashMap<String, String> {
    let (_, header) = safetensors::SafeTensors::read_metadata(weights).unwrap();
    header.metadata().clone().unwrap()
}

/// Width and height of the first picture in a page, which are in the first 24 bytes of a PNG.
fn first_picture(page: &str) -> (u32, u32) {
    let start = "data:image/png;base64,";
    let at = page.find(start).unwrap() + start.len();
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u32> = page[at..at + 32].chars().map(|c| digits.find(c).unwrap() as u32).collect();
    let bytes: Vec<u32> = bits
        .chunks(4)
        .map(|four| four.iter().fold(0, |bits, digit| bits << 6 | digit))
        .flat_map(|bits| [bits >> 16, bits >> 8 & 255, bits & 255])
        .collect();
    let number = |at: usize| bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | byte);
    (number(16), number(20))
}

/// Trains, resumes, evaluates and predicts; the losses of the steps.
fn goes_through(device: &str, size: &str, shape: [usize; 3]) -> Vec<f64> {
    let sandbox = with_photos();
    let [height, width, channels] = shape;
    let flags = format!("--image-size {size}{} --device {device}", if channels == 1 { " --gray" } else { "" });
    let color = if channels == 1 { "gray" } else { "color" };
    let printed = sandbox.ok(&format!("{RECIPE} {flags} --out run --max-steps 3")).stderr;
    let told = format!("15 training and 3 test images of {height}×{width} pixels in {color}");
    assert!(printed.contains(&told), "`{told}` is not in: {printed}");
    sandbox.ok(&format!("train --resume run --device {device}"));
    if device == "cpu" {
        sandbox.ok(&format!("{RECIPE} {flags} --out whole"));
        assert!(sandbox.read("whole/weights.safetensors") == sandbox.read("run/weights.safetensors"));
        // Settings can be fed back.
        sandbox.ok("train --config run/config.toml --out again");
        assert!(sandbox.read("again/weights.safetensors") == sandbox.read("run/weights.safetensors"));
    }
    let config = config(&sandbox, "run");
    assert_eq!(config["image_size"], json!(format!("{height}x{width}")));
    assert_eq!(config["preprocessing"]["mean"], json!(vec![0.5; channels]));
    let weights = sandbox.read("run/weights.safetensors");
    let described = format!("input = [{height}, {width}, {channels}]");
    assert!(metadata(&weights)["network"].contains(&described));

    let page = String::from_utf8(sandbox.read("run/report.html")).unwrap();
    assert!(page.contains(&format!("{height}×{width} pixels, {color}")), "the page does not tell the size");
    assert!(page.matches("data:image/png;base64,").count() > 32, "mistakes and filters of the first layer");
    assert_eq!(first_picture(&page), (width as u32, height as u32));

    // Pictures of any size are scaled to what the weights are for.
    let weights = format!("--weights run/weights.safetensors --device {device}");
    let report = sandbox.json(&format!("eval {weights} --data photos --json"));
    assert_eq!(report["accuracy"], sandbox.metrics("run").1[1]["test_accuracy"]);
    sandbox.write("gray.png", &png(GrayImage::from_fn(31, 77, |x, _| Luma([7 * x as u8]))));
    let predictions = sandbox.json(&format!("predict {weights} --json photos/bee gray.png"));
    assert_eq!(predictions.as_array().unwrap().len(), 7);
    assert!(predictions.as_array().unwrap().iter().all(|p| p["logits"].as_array().unwrap().len() == 3));
    sandbox.metrics("run").0.iter().map(|step| step["loss"].as_f64().unwrap()).collect()
}

fn both_devices_agree(size: &str, shape: [usize; 3]) {
    let (cpu, gpu) = (goes_through("cpu", size, shape), goes_through("gpu", size, shape));
    assert_eq!((cpu.len(), gpu.len()), (4, 4));
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!((cpu - gpu).abs() < 1e-3 * cpu, "{cpu} on the CPU, {gpu} on the GPU");
    }
}

#[test]
fn color_images_of_64_by_64_pixels() {
    both_devices_agree("64", [64, 64, 3]);
}

#[test]
fn color_images_of_48_by_40_pixels() {
    both_devices_agree("48x40", [48, 40, 3]);
}

#[test]
fn gray_images_of_64_by_64_pixels() {
    both_devices_agree("64", [64, 64, 1]);
}

#[test]
fn gray_images_of_48_by_40_pixels() {
    both_devices_agree("48x40", [48, 40, 1]);
}

/// Settings of color images of the default size do not mention the size.
#[test]
fn images_of_32_by_32_pixels_are_the_usual_ones() {
    let sandbox = with_photos();
    for (out, flags) in [("usual", ""), ("said", "--image-size 32 --gray=false")] {
        let stderr = sandbox.ok(&format!("{RECIPE} {flags} --device cpu --max-steps 1 --out {out}")).stderr;
        assert!(stderr.contains("3 test images of 3 classes"), "{stderr}");
    }
    assert!(sandbox.read("usual/weights.safetensors") == sandbox.read("said/weights.safetensors"));
    let config = config(&sandbox, "usual");
    assert_eq!((config.get("image_size"), config.get("gray")), (None, None));
    // Runs of versions that knew no sizes go on.
    sandbox.ok("train --resume usual --max-steps 2");
}

/// Images of the binary layout are scaled and made gray as pictures of the same pixels are.
#[test]
fn the_binary_layout_is_brought_to_other_shapes_as_pictures_are() {
    let sandbox = Sandbox::with_data(40, 20);
    let test: Vec<_> = sandbox.read("data/test_batch.bin").chunks(1 + IMAGE_BYTES).map(<[u8]>::to_vec).collect();
    for (split, records) in [("train", sandbox.train_records("data")), ("test", test)] {
        for (number, record) in records.iter().enumerate() {
            let byte = |x, y, plane: u32| record[1 + (1024 * plane + 32 * y + x) as usize];
            let picture = RgbImage::from_fn(32, 32, |x, y| Rgb([0, 1, 2].map(|plane| byte(x, y, plane))));
            sandbox.write(&format!("pictures/{split}/{}/{number}.png", shape_name(record[0])), &png(picture));
        }
    }
    let train = "train --arch lenet5 --batch-size 8 --lr 0.01 --max-steps 2 --device cpu";
    sandbox.ok(&format!("{train} --data data --image-size 20x24 --gray --out run"));
    let eval =
        |data: &str| sandbox.json(&format!("eval --weights run/weights.safetensors --data {data} --device cpu --json"));
    let (binary, pictures) = (eval("data"), eval("pictures"));
    assert_eq!(binary["confusion"], pictures["confusion"]);
    let [binary, pictures] = [binary, pictures].map(|report| report["loss"].as_f64().unwrap());
    assert!((binary - pictures).abs() < 1e-6 * binary, "{binary}, {pictures}");
}

/// The synthetic classes, in the order of their labels.
fn shape_name(label: u8) -> &'static str {
    ["arrow", "bars", "checker", "crescent", "cross", "disc", "ring", "square", "star", "triangle"][usize::from(label)]
}

#[test]
fn networks_that_end_in_a_mean_take_other_sizes_as_they_are() {
    let sandbox = with_photos();
    let train =
        "train --arch ygnet-bn --batch-size 4 --max-steps 1 --limit-train 4 --limit-test 3 --device cpu --data photos";
    let stderr = sandbox.ok(&format!("{train} --image-size 24x28 --out run")).stderr;
    assert!(stderr.contains("1,370,883 parameters"), "as many as for 32×32 pixels and three classes: {stderr}");
    let usual = sandbox.ok(&format!("{train} --init run/weights.safetensors --image-size 20 --out smaller")).stderr;
    assert!(usual.contains("20×20 pixels") && usual.contains("1,370,883 parameters"), "{usual}");
    sandbox.ok("fold --weights run/weights.safetensors --out plain.safetensors");
    assert!(metadata(&sandbox.read("plain.safetensors"))["network"].contains("input = [24, 28, 3]"));
}

#[test]
fn a_run_has_images_as_its_initial_weights_are_for() {
    let sandbox = with_photos();
    sandbox.ok(&format!("{RECIPE} --image-size 20x24 --gray --device cpu --max-steps 1 --out run"));
    let init = format!("{RECIPE} --init run/weights.safetensors --device cpu --max-steps 1");
    sandbox.ok(&format!("{init} --out on"));
    let on = config(&sandbox, "on");
    assert_eq!((&on["image_size"], &on["gray"]), (&json!("20x24"), &json!(true)));
    sandbox.refuses(&format!("{init} --gray=false --out no"), "the weights are for gray images, not for color ones");
    sandbox.refuses(&format!("{init} --image-size 32 --out no"), "tensor `fc1.weight` has shape");
}

#[test]
fn images_that_do_not_suit_the_network() {
    let sandbox = with_photos();
    let small = format!("{RECIPE} --device cpu --image-size");
    sandbox.refuses(
        &format!("{small} 8"),
        "network lenet5, line 11, conv2d `conv2`: a window of 5 pixels does not fit into 2",
    );
    sandbox.refuses(&format!("{small} 40x9 --gray"), "its input is 18×2×32");
    sandbox.refuses("summary --arch ygnet --image-size 5", "conv2d `conv5`");
    sandbox.refuses("summary --arch lenet5 --image-size 4096", "elements are too many");
    sandbox.refuses(&format!("{small} 16 --crop-padding 16"), "--crop-padding 16 must be less than 16");
    for size in ["0", "0x32", "5000", "32x", "x", "-1", "32.5"] {
        let arguments = format!("train --arch lenet5 --data photos --image-size={size}");
        sandbox.command(&arguments).assert().code(2).stdout("").stderr(contains("from 1 to 4096 pixels"));
    }
    // Settled once a run has begun.
    sandbox.ok(&format!("{small} 16 --max-steps 1 --out run"));
    for flag in ["--image-size 32", "--gray"] {
        sandbox.command(&format!("train --resume run {flag}")).assert().code(2).stderr(contains("cannot be used with"));
    }
    sandbox.write("size.toml", b"arch = \"lenet5\"\nimage_size = \"7y\"\n");
    sandbox.refuses("train --config size.toml --data photos", "size.toml: 7y: an image has a height");
}

#[test]
fn other_commands_follow() {
    let sandbox = with_photos();
    let summary = sandbox.json("summary --arch lenet5 --image-size 48x40 --gray --json");
    assert_eq!(summary["input"], json!([48, 40, 1]));
    assert_eq!(summary["parameters"], json!(395_006 + 64 * (9 * 7 - 5 * 5) * 200 - 2 * 25 * 32));
    assert!(sandbox.ok("summary --arch ygnet --image-size 64").stdout.contains("for one image of 64×64×3"));
    let report =
        sandbox.json("bench --arch lenet5 --image-size 20x16 --gray --batch-size 2 --steps 1 --device cpu --json");
    assert_eq!(report["input"], json!([20, 16, 1]));
    let products = sandbox.json("tune --arch lenet5 --image-size 16 --gray --batch-size 2 --device cpu --json");
    let conv1 = products.as_array().unwrap().iter().find(|product| product["layer"] == "conv1").unwrap();
    // 12×12 outputs of 32 channels, each a sum of 25 products, for two images.
    assert_eq!(conv1["gflop"].as_f64().unwrap(), 1e-9 * f64::from(2 * 2 * 12 * 12 * 32 * 25));
    sandbox.ok("data preview --out sheet.png --data photos --image-size 48x40 --gray --augment keras");
    let sheet = image::load_from_memory(&sandbox.read("sheet.png")).unwrap();
    assert_eq!((sheet.width(), sheet.height()), (4 + 12 * 84, 4 + 8 * 100));
    let synthetic = "train --arch lenet5 --data synthetic --image-size 20x24 --gray --limit-train 16 --limit-test 5";
    let stderr = sandbox.ok(&format!("{synthetic} --batch-size 8 --max-steps 1 --device cpu")).stderr;
    assert!(stderr.contains("16 training and 5 test images of 20×24 pixels in gray"), "{stderr}");
}
