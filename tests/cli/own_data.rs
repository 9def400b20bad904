//! Folders of images, one a class, as data sets.

use image::{Rgb, RgbImage};
use predicates::str::contains;
use serde_json::json;

use super::fixtures::fixture;
use super::{Sandbox, png};

/// Steps on a few images, which is enough to see that everything fits together.
const FEW: &str = "--arch lenet5 --batch-size 16 --lr 0.01 --epochs 1 --max-steps 3 --device cpu";

/// A picture of a class and number, of a size of its own.
fn picture(class: usize, number: usize) -> Vec<u8> {
    let color = [40 * (class % 6) as u8, 7 * (class % 37) as u8, 20 * number as u8];
    png(RgbImage::from_pixel(20 + 9 * number as u32, 50, Rgb(color)))
}

/// `photos/<class>/<number>.png` of as many classes, with `each` images.
fn with_classes(classes: usize, each: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    for class in 0..classes {
        for number in 0..each {
            sandbox.write(&format!("photos/kind {class:03}/{number}.png"), &picture(class, number));
        }
    }
    sandbox
}

fn trains_evaluates_and_predicts(classes: usize, each: usize) {
    let sandbox = with_classes(classes, each);
    sandbox.write("photos/kind 001/notes.txt", b"no image");
    sandbox.write("photos/kind 001/.hidden.png", b"no image");
    let stderr = sandbox.ok(&format!("train {FEW} --data photos --out run")).stderr;
    let split = format!("{classes} of {} images are kept for testing", classes * each);
    assert!(stderr.contains(&split), "`{split}` is not in: {stderr}");
    assert!(stderr.contains("left out one file") && stderr.contains("notes.txt"), "{stderr}");
    let report = sandbox.json("eval --weights run/weights.safetensors --data photos --device cpu --json");
    assert_eq!(report["images"], json!(classes));
    assert_eq!(report["accuracy"], sandbox.metrics("run").1[0]["test_accuracy"]);
    // A confusion matrix is printed only if it fits onto a terminal.
    let printed = sandbox.ok("eval --weights run/weights.safetensors --data photos --device cpu").stdout;
    assert_eq!(printed.contains("predicted\n"), classes <= 20, "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() < 160), "{printed}");
    let mut predict = sandbox.command("predict --weights run/weights.safetensors --device cpu --json");
    let output = predict.arg("photos/kind 001/0.png").output().unwrap();
    let predictions: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(predictions[0]["class"].as_str().unwrap().starts_with("kind "), "{predictions}");
    assert_eq!(predictions[0]["logits"].as_array().unwrap().len(), classes);
}

#[test]
fn three_classes() {
    trains_evaluates_and_predicts(3, 6);
}

#[test]
fn a_hundred_classes() {
    trains_evaluates_and_predicts(100, 2);
}

#[test]
fn more_classes_than_a_byte_can_tell_apart() {
    trains_evaluates_and_predicts(300, 2);
    let sandbox = Sandbox::new();
    for class in 0..257 {
        for split in ["train", "test"] {
            sandbox.write(&format!("tree/{split}/{class}/1.png"), &picture(class, 1));
        }
    }
    sandbox.refuses("data import tree imported --resize", "257 classes do not fit");
}

#[test]
fn a_run_goes_on_with_the_same_split() {
    let sandbox = with_classes(3, 12);
    let recipe = "train --arch lenet5 --batch-size 8 --lr 0.01 --epochs 2 --device cpu --data photos";
    sandbox.ok(&format!("{recipe} --out whole"));
    sandbox.ok(&format!("{recipe} --out part --max-steps 3"));
    sandbox.ok("train --resume part --device cpu");
    assert!(sandbox.read("whole/weights.safetensors") == sandbox.read("part/weights.safetensors"));
}

#[test]
fn a_run_on_superclasses_keeps_to_them() {
    let sandbox = Sandbox::new();
    for name in ["train", "test", "meta"] {
        sandbox.write(&format!("hundred/{name}"), &fixture(&format!("cifar/{name}")));
    }
    let run = sandbox.ok(&format!("train {FEW} --data hundred --labels coarse --out run"));
    assert!(run.stderr.contains("3 training and 2 test images of 20 classes"), "{}", run.stderr);
    let settings = "train --resume run --labels fine --epochs 2";
    sandbox.command(settings).assert().code(2).stderr(contains("cannot be used with"));
    let resumed = sandbox.ok("train --resume run --epochs 2 --max-steps 4");
    assert!(resumed.stderr.contains("20 classes"), "{}", resumed.stderr);
    let weights = "--weights run/weights.safetensors --data hundred --device cpu";
    let superclasses = sandbox.json(&format!("eval {weights} --labels coarse --json"));
    assert_eq!(superclasses["images"], 2);
    sandbox.refuses(&format!("eval {weights}"), "the network has 20 classes, the data have 100");
    sandbox.refuses("train --arch lenet5 --labels coarse --data synthetic", "synthetic has no coarse labels");
}

#[test]
fn folders_of_training_and_test_images() {
    for test in ["test", "val"] {
        let sandbox = Sandbox::new();
        for class in ["ant", "bee"] {
            for number in 0..4 {
                sandbox.write(&format!("photos/train/{class}/{number}.png"), &picture(0, number));
            }
            sandbox.write(&format!("photos/{test}/{class}/9.png"), &picture(0, 9));
        }
        let stderr = sandbox.ok(&format!("train {FEW} --data photos --out run")).stderr;
        assert!(stderr.contains("8 training and 2 test images") && !stderr.contains("kept for testing"), "{stderr}");
    }
}

#[test]
fn import_takes_other_sizes_only_if_asked_to() {
    let sandbox = Sandbox::new();
    for split in ["train", "test"] {
        for class in ["ant", "bee"] {
            sandbox.write(&format!("tree/{split}/{class}/1.png"), &picture(1, 1));
        }
    }
    sandbox.refuses("data import tree imported", "29×50, not 32×32");
    let summary = sandbox.json("data import tree imported --resize --json");
    assert_eq!((&summary["train"], &summary["test"]), (&json!(2), &json!(2)));
}

#[test]
fn what_is_no_data_set() {
    let train = format!("train {FEW} --data photos");
    let refuses = |files: &[&str], message: &str| {
        let sandbox = Sandbox::new();
        for file in files {
            sandbox.write(file, &picture(1, 1));
        }
        sandbox.refuses(&train, message);
        sandbox
    };
    refuses(&["photos/1.png"], "neither data_batch_*.bin files nor folders of images");
    refuses(&["photos/ant/1.png", "photos/ant/2.png"], "one class only, \"ant\"");
    refuses(&["photos/ant/1.png", "photos/bee/2.png"], "every class has one image only");
    refuses(&["photos/ant/1.png", "photos/bee/notes.txt"], "class folder photos/bee holds no");
    refuses(&["photos/train/ant/1.png", "photos/train/bee/1.png"], "a train folder but no test");
    let both = ["photos/train/ant/1.png", "photos/train/bee/1.png", "photos/test/cow/1.png"];
    refuses(&both, "class \"cow\" has test images but no training images");

    let sandbox = with_classes(2, 3);
    sandbox.write("photos/kind 001/7.jpg", b"no picture");
    sandbox.refuses(&train, "photos/kind 001/7.jpg: not a readable picture");
    // As large as nothing that is read, without taking room on most disks.
    let file = std::fs::File::create(sandbox.path("photos/kind 001/7.jpg")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    drop(file);
    let output = sandbox.command(&train).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("7.jpg: 67108865 bytes is too large") && stderr.contains("\nhint: "), "{stderr}");

    let sandbox = Sandbox::new();
    for class in 0..1001 {
        std::fs::create_dir_all(sandbox.path(&format!("photos/{class}"))).unwrap();
    }
    sandbox.refuses(&train, "1001 class folders");
}

#[test]
fn trees_without_test_images_are_imported_as_they_are_loaded() {
    let sandbox = with_classes(3, 4);
    for class in 0..3 {
        for number in 0..2 {
            sandbox.write(&format!("two/train/k{class}/{number}.png"), &picture(class, number));
        }
        sandbox.write(&format!("two/val/k{class}/0.png"), &picture(class, 7));
    }
    let flat = sandbox.json("data import photos flat --resize --json");
    assert_eq!((&flat["train"], &flat["test"]), (&json!(9), &json!(3)));
    assert!(flat["notes"][0].as_str().unwrap().contains("3 of 12 images are kept for testing"), "{flat}");
    let two = sandbox.json("data import two both --resize --json");
    assert_eq!((&two["train"], &two["test"], &two["notes"]), (&json!(6), &json!(3), &json!([])));
    // All of a set, however it is split.
    sandbox.ok(&format!("train {FEW} --data photos --out run"));
    let all = sandbox.json("eval --weights run/weights.safetensors --data photos --split all --device cpu --json");
    assert_eq!((&all["images"], &all["split"]), (&json!(12), &json!("all")));
}

/// A network of one class is right about everything, and its weights were refused afterwards.
#[test]
fn images_of_one_class_are_not_trained_on() {
    let sandbox = Sandbox::new();
    for split in ["train", "test"] {
        sandbox.write(&format!("tree/{split}/only/0.png"), &picture(0, 1));
    }
    sandbox.refuses("data import tree one --resize", "one class only, \"only\"");
    // A set may come to be otherwise.
    for file in ["data_batch_1.bin", "test_batch.bin"] {
        sandbox.write(&format!("one/{file}"), &[0; 3073]);
    }
    sandbox.write("one/batches.meta.txt", b"only\n");
    sandbox.refuses(&format!("train {FEW} --data one"), "the images have 1 classes");
}

#[test]
fn names_in_other_scripts_are_aligned_and_missing_characters_told() {
    let sandbox = Sandbox::new();
    for class in ["日本語", "猫", "dog"] {
        for number in 0..4 {
            sandbox.write(&format!("photos/{class}/{number}.png"), &picture(class.len(), number));
        }
    }
    let said = sandbox.ok(&format!("train {FEW} --data photos --out run")).stderr;
    assert!(said.contains("test images of 3 classes: dog, 日本語, 猫\n"), "{said}");
    let eval = "eval --weights run/weights.safetensors --data photos --device cpu --confusion-png matrix.png";
    let printed = sandbox.ok(eval);
    assert!(printed.stdout.contains("\n日本語  ") && printed.stdout.contains("\n猫      "), "{}", printed.stdout);
    assert!(printed.stderr.contains("lacks characters") && printed.stderr.contains('猫'), "{}", printed.stderr);
}
