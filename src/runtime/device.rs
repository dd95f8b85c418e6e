//! Which devices a container may open on cgroup v2: a small eBPF program, made rule by rule.
//!
//! On v1 libcontainer writes the same rules to the devices controller. Without this a container that may make device
//! nodes, as all may by default, could open the host's disks.

use super::spec::Device;

const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: i32 = 1;

/// Kind, major and minor number; `None` stands for every minor.
type Rule = (i32, i32, Option<i32>);

/// What every container has: null, zero, full, random, urandom, tty, console, ptmx and its terminals.
const STANDARD: &[Rule] = &[
    (CHAR, 1, Some(3)),
    (CHAR, 1, Some(5)),
    (CHAR, 1, Some(7)),
    (CHAR, 1, Some(8)),
    (CHAR, 1, Some(9)),
    (CHAR, 5, Some(0)),
    (CHAR, 5, Some(1)),
    (CHAR, 5, Some(2)),
    (CHAR, 136, None),
];

/// The program for the standard devices and some more, in the kernel's encoding.
///
/// The kernel passes kind and access in one word, then major and minor, and lets the access happen if 1 comes back.
/// Making a node without opening it is always allowed.
pub fn program(devices: &[Device]) -> Vec<u64> {
    let own = devices.iter().map(|device| {
        let kind = if device.is_block { BLOCK } else { CHAR };
        let number = |number: u64| i32::try_from(number).unwrap_or(-1);
        (kind, number(device.major), Some(number(device.minor)))
    });
    let mut code = vec![
        load(2, 0),
        move_register(3, 2),
        and(3, 0xffff),
        shift_right(2, 16),
        load(4, 4),
        load(5, 8),
        skip_unless(2, MKNOD, 2),
        move_value(0, 1),
        exit(),
    ];
    for (kind, major, minor) in STANDARD.iter().copied().chain(own) {
        let checks = 2 + i16::from(minor.is_some());
        // Past the remaining checks and the two instructions that allow.
        code.push(skip_unless(3, kind, checks + 1));
        code.push(skip_unless(4, major, checks));
        if let Some(minor) = minor {
            code.push(skip_unless(5, minor, 2));
        }
        code.push(move_value(0, 1));
        code.push(exit());
    }
    code.push(move_value(0, 0));
    code.push(exit());
    code
}

fn instruction(opcode: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    u64::from(opcode)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value.cast_unsigned()) << 32
}

/// A word of the context, which register 1 points to.
fn load(to: u8, offset: i16) -> u64 {
    instruction(0x61, to, 1, offset, 0)
}

fn move_register(to: u8, from: u8) -> u64 {
    instruction(0xbc, to, from, 0, 0)
}

fn move_value(to: u8, value: i32) -> u64 {
    instruction(0xb7, to, 0, 0, value)
}

fn and(to: u8, value: i32) -> u64 {
    instruction(0x54, to, 0, 0, value)
}

fn shift_right(to: u8, bits: i32) -> u64 {
    instruction(0x74, to, 0, 0, bits)
}

/// Jumps over `count` instructions unless the register has the value.
fn skip_unless(register: u8, value: i32, count: i16) -> u64 {
    instruction(0x55, register, 0, count, value)
}

fn exit() -> u64 {
    instruction(0x95, 0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions the program is made of.
    fn run(code: &[u64], context: [u32; 3]) -> u64 {
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let word = code[at];
            let (to, from) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let offset = (word >> 16) as i16;
            let value = (word >> 32) as u32 as u64;
            at += 1;
            match word as u8 {
                0x61 => registers[to] = context[offset as usize / 4].into(),
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = value,
                0x54 => registers[to] &= value,
                0x74 => registers[to] >>= value,
                0x55 if registers[to] != value => at += usize::try_from(offset).unwrap(),
                0x55 => {}
                0x95 => return registers[0],
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn devices_are_allowed_by_number() {
        let own = Device {
            path: "/dev/kvm".into(),
            is_block: false,
            major: 10,
            minor: 232,
            mode: 0o660,
            uid: 0,
            gid: 0,
        };
        let code = program(&[own]);
        let (mknod, read, write) = (1 << 16, 2 << 16, 4 << 16);
        let cases = [
            ([2 | read | write, 1, 3], 1, "null"),
            ([2 | write, 1, 4], 0, "kernel memory"),
            ([2 | read, 136, 7], 1, "a terminal"),
            (
                [1 | read, 1, 3],
                0,
                "a block device with the numbers of null",
            ),
            ([1 | read, 254, 0], 0, "a disk"),
            ([1 | mknod, 254, 0], 1, "making a node only"),
            ([1 | mknod | read, 254, 0], 0, "making and reading"),
            ([2 | read, 10, 232], 1, "its own"),
            ([2 | read, 10, 231], 0, "its own's neighbor"),
        ];
        for (context, expected, what) in cases {
            assert_eq!(run(&code, context), expected, "{what}");
        }
    }
}
