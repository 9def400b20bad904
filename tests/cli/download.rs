//! `data download` against an HTTP server on this machine that misbehaves; `data info` and `data verify`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use cifar_gpu::data::CIFAR10_CLASSES;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Sends the file, or the range that is requested.
    Ranges,
    /// Sends the whole file whatever is requested.
    Whole,
    /// As `Ranges`, but in chunks, without a length.
    Chunked,
    /// Closes the connection after so many bytes of the file.
    Cut(usize),
    /// Sends nothing more after so many bytes of the file.
    Stall(usize),
    /// Sends the file with another byte in its middle.
    Corrupt,
    /// Sends a range other than the requested one.
    OtherRange,
    /// Sends at most so many bytes of a requested range.
    Short(usize),
    /// Sends a page in place of a requested range.
    PageForRange,
    /// Sends to another path.
    Redirect,
    /// Responds with this status.
    Status(&'static str),
    /// Sends a page.
    Page,
    /// Connects nobody without a password.
    Password,
}

/// A server that answers each connection's request in turn, the last answer again and again.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(file: Vec<u8>, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap().to_string(), requests: Arc::default() };
        let (requests, answers) = (server.requests.clone(), answers.to_vec());
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().enumerate() {
                let answer = *answers.get(at).or(answers.last()).unwrap();
                let (file, requests) = (file.clone(), requests.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &file, answer, &requests));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}/set.tar.gz", self.address)
    }

    /// The range of each request, or a dash.
    fn requested(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let header = |request: &str, name: &str| {
            let lines = request.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
            lines.unwrap_or_else(|| "-".to_owned()).trim().to_owned()
        };
        requests
            .iter()
            .map(|request| {
                assert!(header(request, "user-agent:").starts_with("cifar-gpu/"), "{request}");
                header(request, "range:")
            })
            .collect()
    }
}

/// Answers one request. The client may go away at any time.
fn serve(mut stream: TcpStream, file: &[u8], answer: Answer, requests: &Mutex<Vec<String>>) {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    // A proxy is asked for a connection first.
    if request.starts_with("CONNECT ") && matches!(answer, Answer::Password) {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    if request.starts_with("CONNECT ") {
        let _ = stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n");
        return serve(stream, file, answer, requests);
    }
    let is_redirected = request.starts_with("GET /moved");
    let start = request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let start: Option<usize> = start.map(|range| range.trim_end_matches('-').parse().unwrap());
    requests.lock().unwrap().push(request);
    let status = |status: &str, headers: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
    let mut corrupt = file.to_vec();
    corrupt[file.len() / 2] ^= 1;
    let (head, body, sent) = match (answer, start) {
        (Answer::Redirect, _) if !is_redirected => {
            (status("302 Found", "Location: /moved.tar.gz\r\nContent-Length: 0\r\n"), &[][..], None)
        }
        (Answer::Status(code), _) => (status(code, "Content-Length: 0\r\n"), &[][..], None),
        (Answer::Page, _) | (Answer::PageForRange, Some(_)) => {
            (status("200 OK", "Content-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n"), &b"<html>"[..], None)
        }
        (Answer::Short(most), Some(start)) => {
            let end = (start + most).min(file.len());
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, file.len());
            (status("206 Partial Content", &(length(&file[start..end]) + &range)), &file[start..end], None)
        }
        (Answer::Corrupt, _) => (status("200 OK", &length(file)), &corrupt[..], None),
        (Answer::Ranges | Answer::Chunked | Answer::OtherRange, Some(start)) if start >= file.len() => {
            let total = format!("Content-Range: bytes */{}\r\nContent-Length: 0\r\n", file.len());
            (status("416 Range Not Satisfiable", &total), &[][..], None)
        }
        (Answer::Ranges | Answer::OtherRange | Answer::Redirect, Some(start)) => {
            let first = start - usize::from(matches!(answer, Answer::OtherRange));
            let range = format!("Content-Range: bytes {first}-{}/{}\r\n", file.len() - 1, file.len());
            (status("206 Partial Content", &(length(&file[first..]) + &range)), &file[first..], None)
        }
        (Answer::Chunked, _) => (status("200 OK", "Transfer-Encoding: chunked\r\n"), file, None),
        (Answer::Cut(bytes) | Answer::Stall(bytes), _) => (status("200 OK", &length(file)), file, Some(bytes)),
        _ => (status("200 OK", &length(file)), file, None),
    };
    let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    if !send(head.as_bytes()) {
        return;
    }
    if matches!(answer, Answer::Chunked) {
        for chunk in body.chunks(1000) {
            send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        send(b"0\r\n\r\n");
    } else {
        send(&body[..sent.unwrap_or(body.len())]);
    }
    if matches!(answer, Answer::Stall(_)) {
        std::thread::sleep(Duration::from_secs(10));
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// The folder `data`, said to be CIFAR-10, as a compressed archive.
fn archive(sandbox: &Sandbox) -> Vec<u8> {
    sandbox.write("data/batches.meta.txt", (CIFAR10_CLASSES.join("\n") + "\n\n").as_bytes());
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    builder.append_dir_all("cifar-10-batches-bin", sandbox.path("data")).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// A command that downloads an archive with this content.
fn download(sandbox: &Sandbox, archive: &[u8], url: &str, more: &str) -> Command {
    download_set("cifar-10", sandbox, archive, url, more)
}

fn download_set(set: &str, sandbox: &Sandbox, archive: &[u8], url: &str, more: &str) -> Command {
    let md5 = md5::compute(archive);
    let mut command = sandbox.command(&format!("data download {set} got --url {url} --md5 {md5:x} {more}"));
    for name in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        command.env_remove(name);
    }
    command
}

/// What such a command prints, which ends well if `is_good`.
fn printed(mut command: Command, is_good: bool) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(!is_good)), "{text}");
    text
}

/// Whether `got` is `data`, with nothing left beside it.
fn is_complete(sandbox: &Sandbox) -> bool {
    let names: Vec<_> = fs::read_dir(sandbox.path("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let same = names.iter().all(|name| {
        let name = name.to_str().unwrap();
        sandbox.read(&format!("data/{name}")) == sandbox.read(&format!("got/{name}"))
    });
    let beside = fs::read_dir(sandbox.path(".")).unwrap().map(|entry| entry.unwrap().file_name());
    same && beside.into_iter().all(|name| name == "data" || name == "got" || name.to_str().unwrap().contains("mesa"))
}

#[test]
fn a_set_arrives_whatever_the_server_does() {
    for (answers, requests, says) in [
        (&[Answer::Ranges][..], &["-"][..], "100 training and 20 test images of 10 classes"),
        (&[Answer::Chunked], &["-"], ""),
        (&[Answer::Redirect], &["-", "-"], ""),
        (&[Answer::Cut(5000), Answer::Ranges], &["-", "bytes=5000-"], "resuming at byte 5,000"),
        (&[Answer::Cut(5000), Answer::Redirect], &["-", "bytes=5000-", "bytes=5000-"], ""),
        (&[Answer::Cut(5000), Answer::Whole], &["-", "bytes=5000-"], "starting over"),
        (&[Answer::Cut(5000), Answer::OtherRange, Answer::Ranges], &["-", "bytes=5000-", "-"], "does not resume"),
        (&[Answer::Cut(5000), Answer::Short(1 << 18)], &["-", "bytes=5000-", "bytes=267144-"], ""),
        (&[Answer::Stall(7000), Answer::Ranges], &["-", "bytes=7000-"], "no data for 1 s"),
        (&[Answer::Status("503 Busy"), Answer::Ranges], &["-", "-"], "status 503; trying again in 1 s"),
    ] {
        let sandbox = Sandbox::with_data(100, 20);
        let archive = archive(&sandbox);
        let server = Server::start(archive.clone(), answers);
        let said = printed(download(&sandbox, &archive, &server.url(), "--timeout 1"), true);
        assert_eq!(server.requested(), requests, "{said}");
        assert!(said.contains(says) && is_complete(&sandbox), "{said}");
    }
}

#[test]
fn a_set_that_is_there_is_not_downloaded_again() {
    let sandbox = Sandbox::new();
    for name in (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".to_owned()]) {
        sandbox.write_black(&format!("got/{name}"), 10_000);
    }
    let said = printed(sandbox.command("data download cifar-10 got"), true);
    assert_eq!(said, "got: already there: 50000 training and 10000 test images of 10 classes\n");
    // Of other classes, or incomplete: it is something else.
    sandbox.refuses("data download cifar-100 got", "got");
    sandbox.write("got/batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    sandbox.refuses("data download cifar-10 got", "got");
    fs::remove_file(sandbox.path("got/batches.meta.txt")).unwrap();
    fs::remove_file(sandbox.path("got/data_batch_5.bin")).unwrap();
    sandbox.refuses("data download cifar-10 got", "got");
}

#[test]
fn what_has_arrived_is_kept_for_the_next_call() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let server = Server::start(archive.clone(), &[Answer::Cut(9000), Answer::Ranges]);
    let failed = printed(download(&sandbox, &archive, &server.url(), "--retries 0"), false);
    assert!(failed.contains("hint: run the same command again"), "{failed}");
    assert_eq!(sandbox.read("got.download"), archive[..9000]);
    printed(download(&sandbox, &archive, &server.url(), ""), true);
    assert_eq!(server.requested(), ["-", "bytes=9000-"]);
    assert!(is_complete(&sandbox));
}

#[test]
fn a_page_in_place_of_the_archive_drops_nothing() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    sandbox.write("got.download", &archive[..9000]);
    let server = Server::start(archive.clone(), &[Answer::PageForRange]);
    sandbox.refuses_command(download(&sandbox, &archive, &server.url(), ""), "is a web page");
    let mut official = sandbox.command(&format!("data download cifar-10 got --url {}", server.url()));
    official.env("NO_PROXY", "127.0.0.1");
    sandbox.refuses_command(official, "has 6 bytes, expected 170052171");
    assert_eq!(sandbox.read("got.download").len(), 9000);
}

#[test]
fn an_archive_that_was_complete_is_not_downloaded_again() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    sandbox.write("got.download", &archive);
    let server = Server::start(archive.clone(), &[Answer::Ranges]);
    printed(download(&sandbox, &archive, &server.url(), ""), true);
    assert_eq!(server.requested(), [format!("bytes={}-", archive.len())]);
    assert!(is_complete(&sandbox));
}

#[test]
fn the_start_of_something_else_is_dropped() {
    for start in [vec![7; 3000], vec![7; 1 << 20]] {
        let sandbox = Sandbox::with_data(100, 20);
        let archive = archive(&sandbox);
        sandbox.write("got.download", &start);
        let server = Server::start(archive.clone(), &[Answer::Ranges]);
        let said = printed(download(&sandbox, &archive, &server.url(), ""), true);
        assert_eq!(server.requested(), [format!("bytes={}-", start.len()).as_str(), "-"]);
        assert!(said.contains("starting over") && is_complete(&sandbox), "{said}");
    }
}

#[test]
fn wrong_files_are_refused_and_leave_nothing() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let refused = |answer: Answer, message: &str| {
        let server = Server::start(archive.clone(), &[answer]);
        sandbox.refuses_command(download(&sandbox, &archive, &server.url(), "--retries 1"), message);
        server.requested().len()
    };
    let sum = format!("expected {:x}", md5::compute(&archive));
    assert_eq!(refused(Answer::Corrupt, &sum), 1);
    assert_eq!(refused(Answer::Page, "is a web page"), 1);
}

#[test]
fn errors_name_the_address_and_the_reason() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let fails = |url: &str, more: &str, message: &str| {
        let said = printed(download(&sandbox, &archive, url, more), false);
        assert!(said.contains(message) && said.contains("hint: "), "{said}");
        assert!(!sandbox.path("got").exists() && !sandbox.path("got.download").exists());
    };
    let server = |answer| Server::start(archive.clone(), &[answer]);
    let gone = server(Answer::Status("404 Not Found"));
    fails(&gone.url(), "", "status 404");
    assert_eq!(gone.requested().len(), 1);
    let busy = server(Answer::Status("503 Busy"));
    fails(&busy.url(), "--retries 1", "status 503");
    assert_eq!(busy.requested().len(), 2);
    fails(&server(Answer::Stall(0)).url(), "--retries 0 --timeout 1", "no data for 1 s");
    fails("http://nowhere.invalid/set", "", "the name of the server is not found");
    fails("ftp://127.0.0.1/set", "", "ftp://127.0.0.1/set: ");
    fails("nonsense", "", "nonsense");
    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&format!("http://{closed}/set"), "--retries 0", "refused");
    // The official size tells a page of a login at once.
    let page = server(Answer::Page);
    let mut official = sandbox.command(&format!("data download cifar-10 got --url {}", page.url()));
    official.env("NO_PROXY", "127.0.0.1");
    let said = printed(official, false);
    assert!(said.contains("has 6 bytes, expected 170052171"), "{said}");
}

#[test]
fn archives_of_something_else_are_refused() {
    let sandbox = Sandbox::with_data(100, 20);
    let other = fixture("formats/arrays.npz");
    let server = Server::start(other.clone(), &[Answer::Ranges]);
    let said = printed(download(&sandbox, &other, &server.url(), ""), false);
    assert!(said.contains("does not hold CIFAR-10") && !sandbox.path("got").exists(), "{said}");
    let ten = archive(&sandbox);
    let server = Server::start(ten.clone(), &[Answer::Ranges]);
    let said = printed(download_set("cifar-100", &sandbox, &ten, &server.url(), ""), false);
    assert!(said.contains("does not hold CIFAR-100") && !sandbox.path("got").exists(), "{said}");
    assert!(!sandbox.path("got.download").exists());
    sandbox.write("got/mine.txt", b"mine");
    sandbox.refuses_command(download(&sandbox, &other, &server.url(), ""), "got");
}

#[test]
fn two_downloads_to_one_place_do_not_mix() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let file = File::create(sandbox.path("got.download.lock")).unwrap();
    file.lock().unwrap();
    let server = Server::start(archive.clone(), &[Answer::Ranges]);
    sandbox.refuses_command(download(&sandbox, &archive, &server.url(), ""), "another download is writing to");
}

#[test]
fn a_download_that_was_killed_holds_nothing() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let server = Server::start(archive.clone(), &[Answer::Stall(1000), Answer::Ranges]);
    let arguments = format!("data download cifar-10 got --url {} --md5 {:x}", server.url(), md5::compute(&archive));
    let mut program = std::process::Command::new(BINARY);
    program.args(arguments.split(' ')).current_dir(sandbox.path("")).env("NO_PROXY", "127.0.0.1");
    let mut child = program.stderr(std::process::Stdio::null()).spawn().unwrap();
    let arrived = sandbox.path("got.download");
    while !fs::metadata(&arrived).is_ok_and(|file| file.len() == 1000) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let refused = download(&sandbox, &archive, &server.url(), "").output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another download is writing to"));
    child.kill().unwrap();
    child.wait().unwrap();
    printed(download(&sandbox, &archive, &server.url(), ""), true);
    assert!(is_complete(&sandbox) && server.requested() == ["-", "bytes=1000-"]);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let proxy = Server::start(archive.clone(), &[Answer::Ranges]);
    let mut command = download(&sandbox, &archive, "http://far.invalid/set.tar.gz", "");
    command.env("HTTP_PROXY", format!("http://{}", proxy.address));
    printed(command, true);
    assert!(proxy.requests.lock().unwrap()[0].contains("far.invalid") && is_complete(&sandbox));
    fs::remove_dir_all(sandbox.path("got")).unwrap();
    // The one of the address's scheme counts, and hosts may be left out.
    let mut command = download(&sandbox, &archive, &proxy.url(), "");
    command
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1");
    printed(command, true);
    fs::remove_dir_all(sandbox.path("got")).unwrap();
    let mut command = download(&sandbox, &archive, "http://far.invalid/set.tar.gz", "");
    command.env("ALL_PROXY", "http://a b");
    sandbox.refuses_command(command, "ALL_PROXY=http://a b: ");
}

#[test]
fn a_proxy_that_wants_a_password_is_not_tried_again() {
    let sandbox = Sandbox::with_data(100, 20);
    let archive = archive(&sandbox);
    let proxy = Server::start(archive.clone(), &[Answer::Password]);
    let mut command = download(&sandbox, &archive, "http://far.invalid/set.tar.gz", "");
    command.env("HTTP_PROXY", format!("http://{}", proxy.address));
    let said = printed(command, false);
    assert!(said.contains("407") && said.contains("hint: the proxy may want a name and password"), "{said}");
    assert!(!said.contains("trying again"), "{said}");
}

#[test]
fn a_set_is_described_and_verified() {
    let sandbox = Sandbox::with_data(100, 20);
    // A test image that is also a training image, and one of another class.
    let mut test = sandbox.read("data/test_batch.bin");
    let records = sandbox.train_records("data");
    test.extend_from_slice(&records[3]);
    test.push((records[4][0] + 1) % 10);
    test.extend_from_slice(&records[4][1..]);
    sandbox.write("data/test_batch.bin", &test);
    let info = sandbox.json("data info data --json");
    let expected = serde_json::json!({
        "within_train": 0, "within_test": 0, "test_in_train": 2, "test_in_train_of_other_class": 1
    });
    assert_eq!((&info["duplicates"], &info["classes"][0]["train"]), (&expected, &10.into()));
    let text = sandbox.ok("data info data").stdout;
    for line in [
        "122 images of 32×32 pixels in color in 10 classes",
        "cross",
        "all         100    22",
        "test images that are also training images: 2, 1 of",
    ] {
        assert!(text.contains(line), "`{line}` is not in {text}");
    }
    let gray = sandbox.json("data info data --gray --image-size 8 --json");
    assert_eq!(gray["mean"].as_array().unwrap().len(), 1);
    let text = sandbox.ok("data verify data").stdout;
    assert!(text.contains("data: 100 training and 22 test images of 10 classes, all readable"), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with("not the published file")).count(), 6, "{text}");
    assert!(text.contains("batches.meta.txt") && text.contains("no published sum is known"), "{text}");
    let official = sandbox.command("data verify data --official").output().unwrap();
    let stderr = String::from_utf8_lossy(&official.stderr);
    assert!(
        official.status.code() == Some(1) && stderr.contains("not the published files: data_batch_1.bin"),
        "{stderr}"
    );
    sandbox.refuses("data verify absent", "absent");
    sandbox.write("data/test_batch.bin", &test[..test.len() - 1]);
    sandbox.refuses("data verify data", "test_batch.bin");
}
