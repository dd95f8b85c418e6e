//! What the tests run inside containers: this very program, under the name `/probe`.

use std::{
    fs,
    io::{self, BufRead, Read, Write},
    process::exit,
    thread,
    time::Duration,
};

/// Runs the probe if the program was started as one.
pub fn main_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments[0].ends_with("probe") {
        return;
    }
    let words: Vec<&str> = arguments[1..].iter().map(String::as_str).collect();
    match &words[..] {
        ["exit", code] => exit(code.parse().unwrap()),
        ["print", out, err] => {
            println!("{out}");
            eprintln!("{err}");
        }
        ["flood", lines] => {
            let mut out = io::stdout().lock();
            for line in 0..lines.parse::<u32>().unwrap() {
                writeln!(out, "{line:0100}").unwrap();
            }
        }
        ["sleep"] => {
            println!("ready");
            thread::sleep(Duration::from_secs(3600));
        }
        // The first process of a PID namespace ignores signals it has no handler for; a child does not.
        ["eat"] => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1u8; 1 << 20]);
            }
        }
        ["cat"] => {
            let mut text = String::new();
            while io::stdin().lock().read_line(&mut text).unwrap() > 0 {
                print!("got {text}");
                io::stdout().flush().unwrap();
                text.clear();
            }
            println!("end");
        }
        ["facts"] => facts(),
        ["read", path] => {
            let mut text = String::new();
            fs::File::open(path)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            print!("{text}");
        }
        ["write", path, text] => fs::write(path, text).unwrap_or_else(|error| {
            println!("{error}");
            exit(1)
        }),
        ["device", major, minor] => {
            use nix::sys::stat::{Mode, SFlag, makedev, mknod};
            let number = makedev(major.parse().unwrap(), minor.parse().unwrap());
            mknod(
                "/dev/tried",
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o600),
                number,
            )
            .unwrap();
            match fs::File::open("/dev/tried") {
                Ok(_) => println!("opened"),
                Err(error) => println!("{error}"),
            }
        }
        ["exists", path] => exit(i32::from(!std::path::Path::new(path).exists())),
        ["mount", path] => nix::mount::mount(
            Some("from-the-container"),
            *path,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        )
        .unwrap(),
        ["mounts"] => print!("{}", fs::read_to_string("/proc/self/mountinfo").unwrap()),
        other => {
            println!("unknown probe {other:?}");
            exit(99);
        }
    }
    exit(0);
}

/// `name=value` lines about where the process finds itself.
fn facts() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        let wanted = [
            "Uid",
            "Gid",
            "Groups",
            "CapEff",
            "CapBnd",
            "NoNewPrivs",
            "Seccomp",
            "SigIgn",
            "SigBlk",
            "Umask",
        ];
        if let Some((name, value)) = line.split_once(':')
            && wanted.contains(&name)
        {
            println!(
                "{name}={}",
                value.split_whitespace().collect::<Vec<_>>().join(" ")
            );
        }
    }
    use std::os::unix::fs::PermissionsExt;
    let null = fs::metadata("/dev/null").unwrap().permissions().mode();
    println!("null={null:o}");
    println!("pid={}", std::process::id());
    println!(
        "hostname={}",
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim()
    );
    println!("cwd={}", std::env::current_dir().unwrap().display());
    let mut fds: Vec<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !fs::read_link(path).unwrap().starts_with("/proc"))
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    fds.sort();
    println!("fds={}", fds.join(","));
    let terminal = fs::read_link("/proc/self/fd/0").unwrap();
    println!("stdin={}", terminal.display());
    println!(
        "cgroup={}",
        fs::read_to_string("/proc/self/cgroup")
            .unwrap()
            .lines()
            .next()
            .unwrap()
    );
    println!(
        "oom={}",
        fs::read_to_string("/proc/self/oom_score_adj")
            .unwrap()
            .trim()
    );
    for (name, value) in std::env::vars() {
        println!("env {name}={value}");
    }
    let unshare = fs::read_link("/proc/self/ns/net").unwrap();
    println!("net={}", unshare.display());
}
