//! What the assembly of a kernel tells: how much of its busiest loop is multiply-adds, and how wide loads are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Range;

use super::gpus::Vendor;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction<'a> {
    name: &'a str,
    operands: &'a str,
    /// Cycles until the next one may be issued, as the compiler schedules it; 1 where it does not tell.
    cycles: u64,
    /// How many times it is executed in a row.
    times: u64,
}

/// A part of a kernel: its multiply-adds, and all its instructions and the cycles in which they are issued.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Multiply-adds of an invocation.
    pub multiply_adds: u64,
    /// Cycles in which their units are busy.
    pub multiply_add_cycles: u64,
    /// All instructions.
    pub instructions: u64,
    /// Cycles in which they are issued.
    pub cycles: u64,
    /// Bytes that an invocation loads from storage buffers and stores there.
    pub storage_bytes: u64,
}

impl Part {
    fn of(vendor: Vendor, instructions: &[Instruction<'_>]) -> Self {
        let products =
            || instructions.iter().filter_map(|i| multiply_add(vendor, i.name).map(|product| (i.times, product)));
        Part {
            multiply_adds: products().map(|(times, product)| times * product.count).sum(),
            multiply_add_cycles: products().map(|(times, product)| times * product.cycles).sum(),
            instructions: instructions.len() as u64,
            cycles: instructions.iter().map(|i| i.cycles * i.times).sum(),
            storage_bytes: instructions.iter().filter_map(|i| storage_access(vendor, i)).map(u64::from).sum::<u64>()
                / 8,
        }
    }

    /// Two parts together.
    fn and(self, other: Self) -> Self {
        Part {
            multiply_adds: self.multiply_adds + other.multiply_adds,
            multiply_add_cycles: self.multiply_add_cycles + other.multiply_add_cycles,
            instructions: self.instructions + other.instructions,
            cycles: self.cycles + other.cycles,
            storage_bytes: self.storage_bytes + other.storage_bytes,
        }
    }

    /// Cycles until a subgroup's next round: those in which its instructions are issued, or those of matrix units, which go on while
    /// others are issued.
    pub fn round_cycles(self) -> u64 {
        self.cycles.max(self.multiply_add_cycles)
    }

    /// The share of multiply-adds in these cycles.
    pub fn share(self) -> f64 {
        self.multiply_add_cycles as f64 / self.round_cycles().max(1) as f64
    }
}

/// What the assembly of a kernel shows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// The part without branches that has the most multiply-adds, in the loop below; `None` without loops.
    pub block: Option<Part>,
    /// The innermost loop with the most multiply-adds.
    pub inner_loop: Option<Part>,
    /// All innermost loops.
    pub loops: Vec<Part>,
    /// What is in none of them.
    pub outside: Part,
    /// Loads from workgroup memory: bits wide, how many.
    pub workgroup_loads: BTreeMap<u32, usize>,
}

impl Assembly {
    /// Reads the text of a vendor's compiler.
    pub fn parse(vendor: Vendor, text: &str) -> Self {
        let code = match vendor {
            Vendor::Amd => amd(text),
            Vendor::Nvidia => nvidia(text),
            Vendor::Apple => apple(text),
            Vendor::Qualcomm => qualcomm(text),
        };
        let mut workgroup_loads = BTreeMap::new();
        code.instructions.iter().filter_map(|i| workgroup_load(vendor, i)).for_each(|bits| {
            *workgroup_loads.entry(bits).or_default() += 1;
        });
        let part = |block: &Range<usize>| Part::of(vendor, &code.instructions[block.clone()]);
        let blocks = code.blocks();
        let whole =
            |body: &BTreeSet<usize>| body.iter().map(|&block| part(&blocks[block])).fold(Part::default(), Part::and);
        let loops = code.loops();
        let is_innermost =
            |body: &&BTreeSet<usize>| !loops.iter().any(|other| other.len() < body.len() && other.is_subset(body));
        let innermost: Vec<_> = loops.iter().filter(is_innermost).collect();
        let is_outside = |block: &usize| !innermost.iter().any(|body| body.contains(block));
        let outside = whole(&(0..blocks.len()).filter(is_outside).collect());
        let busiest = loops.iter().filter(is_innermost).max_by_key(|body| whole(body).multiply_adds);
        let block = busiest
            .and_then(|body| body.iter().map(|&block| part(&blocks[block])).max_by_key(|block| block.multiply_adds));
        let loops = innermost.into_iter().map(whole).collect();
        Assembly { block, inner_loop: busiest.map(whole), loops, outside, workgroup_loads }
    }
}

/// Instructions in order, where blocks (parts without branches) start, and where control may go after each.
#[derive(Default)]
struct Code<'a> {
    instructions: Vec<Instruction<'a>>,
    /// The first instructions of blocks.
    starts: BTreeSet<usize>,
    /// From the instruction after a branch to its target.
    branches: Vec<(usize, usize)>,
    /// Branches that are always taken, by the instruction after them.
    always: BTreeSet<usize>,
}

impl<'a> Code<'a> {
    /// Takes an instruction of a name and operands, if there is one.
    fn push(&mut self, text: &'a str, cycles: u64) -> &'a str {
        let (name, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if !name.is_empty() {
            self.instructions.push(Instruction { name, operands, cycles, times: 1 });
        }
        name
    }

    /// Notes that a block ends here.
    fn split(&mut self) {
        self.starts.insert(self.instructions.len());
    }

    /// Notes a branch, or the end, after what was pushed; `is_always` says that control never goes on to the next instruction.
    fn branch(&mut self, is_always: bool) {
        self.split();
        if is_always {
            self.always.insert(self.instructions.len());
        }
    }

    /// Finds the targets of branches, which are given by the instruction after them.
    fn resolve<T: Eq + Hash>(&mut self, jumps: Vec<(usize, T)>, places: &HashMap<T, usize>) {
        for (from, target) in jumps {
            if let Some(&to) = places.get(&target) {
                self.starts.insert(to);
                self.branches.push((from, to));
            }
        }
    }

    /// The blocks, in order.
    fn blocks(&self) -> Vec<Range<usize>> {
        let end = self.instructions.len();
        let mut starts: Vec<_> = self.starts.iter().copied().chain([0]).filter(|&start| start < end).collect();
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([end]);
        starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
    }

    /// The natural loops: of each branch to a block that all ways here pass, the blocks from which control gets to the branch without
    /// passing that one.
    fn loops(&self) -> Vec<BTreeSet<usize>> {
        let blocks = self.blocks();
        let block_at = |at: usize| blocks.iter().position(|block| block.contains(&at));
        let mut before = vec![Vec::new(); blocks.len()];
        for (number, block) in blocks.iter().enumerate() {
            let after = self.branches.iter().filter(|(from, _)| *from == block.end).filter_map(|&(_, to)| block_at(to));
            let next = (number + 1 < blocks.len() && !self.always.contains(&block.end)).then_some(number + 1);
            for to in after.chain(next) {
                before[to].push(number);
            }
        }
        let passed = passed_before(&before);
        let edges = before.iter().enumerate().flat_map(|(to, before)| before.iter().map(move |&from| (from, to)));
        let back = edges.filter(|(from, to)| passed[*from].contains(to));
        let body = |(tail, head): (usize, usize)| {
            let mut body = BTreeSet::from([head, tail]);
            let mut open = vec![tail];
            while let Some(block) = open.pop().filter(|_| tail != head) {
                for &earlier in &before[block] {
                    if body.insert(earlier) {
                        open.push(earlier);
                    }
                }
            }
            body
        };
        // Several branches back to one block are one loop.
        let mut loops: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        back.for_each(|(tail, head)| loops.entry(head).or_default().extend(body((tail, head))));
        loops.into_values().collect()
    }
}

/// The blocks that all ways from the first block to each pass, itself among them (its dominators), from the blocks before each.
fn passed_before(before: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let all: BTreeSet<_> = (0..before.len()).collect();
    let mut passed = vec![all; before.len()];
    loop {
        let last = passed.clone();
        for (block, before) in before.iter().enumerate() {
            let on_all_ways = before.iter().map(|&block| &passed[block]).cloned().reduce(|a, b| &a & &b);
            match on_all_ways.filter(|_| block > 0) {
                Some(on_all_ways) => passed[block] = &on_all_ways | &BTreeSet::from([block]),
                // No way leads to the others, or they are never executed.
                None if block == 0 => passed[block] = BTreeSet::from([block]),
                None => {}
            }
        }
        if passed == last {
            return passed;
        }
    }
}

/// Labels stand on lines of their own; dual instructions are written with a double colon between them.
fn amd(text: &str) -> Code<'_> {
    let (mut code, mut labels, mut jumps) = (Code::default(), HashMap::new(), Vec::new());
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':') {
            labels.insert(label, code.instructions.len());
            code.split();
            continue;
        }
        // The second of two operations is issued with the first.
        for (at, operation) in line.split(" :: ").enumerate() {
            let name = code.push(operation.trim(), u64::from(at == 0));
            if name.starts_with("s_branch") || name.starts_with("s_cbranch") {
                code.branch(name.starts_with("s_branch"));
                jumps.extend(operation.split_whitespace().last().map(|target| (code.instructions.len(), target)));
            } else if name == "s_endpgm" {
                code.branch(true);
            }
        }
    }
    code.resolve(jumps, &labels);
    code
}

/// `block N L3 [before] -> {`, then `r1 = ffma.ftz r2 r3 r4 // delay=1 …`, then `} -> [after]`.
fn nvidia(text: &str) -> Code<'_> {
    let (mut code, mut blocks, mut jumps) = (Code::default(), HashMap::new(), Vec::new());
    for line in text.lines() {
        let (operation, comment) = line.split_once("//").unwrap_or((line, ""));
        let operation = operation.trim();
        if let Some(block) = operation.strip_suffix("-> {").filter(|_| operation.starts_with("block")) {
            code.split();
            blocks.extend(block.split_whitespace().nth(1).map(|number| (number, code.instructions.len())));
        } else if let Some(after) = operation.strip_prefix("} -> [") {
            code.branch(true);
            let after = after.trim_end_matches(']').split(", ");
            jumps.extend(after.map(|number| (code.instructions.len(), number)));
        } else {
            let operation = operation.split_once(" = ").map_or(operation, |(_, right)| right);
            // A condition comes first.
            let condition =
                operation.split_whitespace().next().filter(|word| word.starts_with('@')).unwrap_or_default();
            if let Some(cycles) = comment.split_whitespace().find_map(|word| word.strip_prefix("delay=")?.parse().ok())
            {
                code.push(operation[condition.len()..].trim(), cycles);
            }
        }
    }
    code.resolve(jumps, &blocks);
    code
}

/// Lines of the disassembler: `7dae: 00c0b089ffff  jmp_any  -30288`. What runs once for all comes after the kernel, from address 0.
fn apple(text: &str) -> Code<'_> {
    let (mut code, mut addresses, mut jumps) = (Code::default(), HashMap::new(), Vec::new());
    for line in text.lines() {
        let Some((address, rest)) = line.split_once(':') else { continue };
        let (binary, operation) = rest.trim().split_once(' ').unwrap_or_default();
        let is_code = !binary.is_empty() && binary.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Ok(address) = i64::from_str_radix(address.trim(), 16) else { continue };
        if !is_code {
            continue;
        }
        if address == 0 && !code.instructions.is_empty() {
            break;
        }
        addresses.insert(address, code.instructions.len());
        let name = code.push(operation.trim(), 1);
        if name.starts_with("jmp_") {
            code.branch(false);
            let offset = operation.split_whitespace().last().and_then(|word| word.parse::<i64>().ok());
            jumps.extend(offset.map(|offset| (code.instructions.len(), address + offset)));
        }
    }
    code.resolve(jumps, &addresses);
    code
}

/// Labels as `l760:`, branches as `br p0.z, #l760` and `jump #l760`; marks stand before a name in parentheses.
fn qualcomm(text: &str) -> Code<'_> {
    let (mut code, mut labels, mut jumps) = (Code::default(), HashMap::new(), Vec::new());
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default().trim();
        if let Some(label) = line.strip_suffix(':').filter(|label| label.starts_with('l')) {
            labels.insert(label, code.instructions.len());
            code.split();
            continue;
        }
        if line.starts_with('@') {
            continue;
        }
        let (marks, operation) = marks_before(line);
        let name = code.push(operation, 1);
        let repeated = marks.split_once("(rpt").and_then(|(_, rest)| rest.split_once(')')?.0.parse::<u64>().ok());
        if let (Some(more), Some(last)) = (repeated, code.instructions.last_mut()) {
            last.times += more;
        }
        if let Some((_, label)) = line.rsplit_once('#').filter(|(_, label)| label.starts_with('l')) {
            code.branch(name == "jump");
            jumps.push((code.instructions.len(), label));
        }
    }
    code.resolve(jumps, &labels);
    code
}

/// The marks before an instruction, and the instruction: `(sy)(ss)(rpt2)mad.f32 …`.
fn marks_before(line: &str) -> (&str, &str) {
    let mut rest = line;
    while let Some((_, after)) = rest.strip_prefix('(').and_then(|inside| inside.split_once(')')) {
        rest = after;
    }
    (&line[..line.len() - rest.len()], rest)
}

/// An instruction's multiply-adds.
struct MultiplyAdd {
    /// How many an invocation contributes.
    count: u64,
    /// Cycles in which their unit is busy.
    cycles: u64,
}

fn multiply_add(vendor: Vendor, name: &str) -> Option<MultiplyAdd> {
    if vendor == Vendor::Nvidia && name.starts_with("hmma.m16n8k16") {
        // 2,048 of a subgroup of 32, on GA100; GA102 takes 32 cycles.
        return Some(MultiplyAdd { count: 64, cycles: 16 });
    }
    let starts: &[&str] = match vendor {
        Vendor::Amd => &["v_fma", "v_pk_fma", "v_dual_fma", "v_mac_f", "v_mad_f", "v_mad_mix", "v_dot", "v_wmma"],
        Vendor::Nvidia => &["ffma", "hfma"],
        Vendor::Apple => &["ffma", "hfma"],
        Vendor::Qualcomm => &["mad.f"],
    };
    starts.iter().any(|start| name.starts_with(start)).then_some(MultiplyAdd { count: 1, cycles: 1 })
}

/// Width in bits of a load from workgroup memory; `None` for all else.
fn workgroup_load(vendor: Vendor, Instruction { name, operands, .. }: &Instruction<'_>) -> Option<u32> {
    let number = |text: &str| text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse().ok();
    match vendor {
        Vendor::Amd => {
            let width = number(name.strip_prefix("ds_load_").or(name.strip_prefix("ds_read"))?.rsplit('_').next()?)?;
            // Two addresses, one instruction.
            Some(if name.contains("read2") || name.contains("2addr") { 2 * width } else { width })
        }
        Vendor::Nvidia => number(name.strip_prefix("ld.shared.")?.rsplit('.').next()?),
        // `lload r0_r1, r2, 0, i32, xy`
        Vendor::Apple if *name == "lload" => {
            let mut last = operands.rsplit(", ");
            let components = last.next()?.len() as u32;
            Some(components * number(last.next()?)?)
        }
        Vendor::Apple => None,
        Vendor::Qualcomm => number(name.strip_prefix("ldl.")?.rsplit('.').next()?),
    }
}

/// Bits that an instruction loads from a storage buffer or stores there, if it does.
fn storage_access(vendor: Vendor, Instruction { name, operands, .. }: &Instruction<'_>) -> Option<u32> {
    let number = |text: &str| text.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<u32>().ok();
    match vendor {
        // `buffer_load_b128`, `global_store_dwordx2`, `buffer_load_d16_b16`; without a number, the type's bits.
        Vendor::Amd => {
            let (_, kind) = name.strip_prefix("buffer_").or(name.strip_prefix("global_"))?.split_once('_')?;
            Some(match kind {
                "dword" => 32,
                _ if kind.contains("short") => 16,
                _ if kind.contains("byte") => 8,
                _ if kind.starts_with("dwordx") => 32 * number(&kind["dword".len()..])?,
                _ => number(kind.rsplit('_').next()?)?,
            })
        }
        // `ld.global.a64.constant.b32`, without cycles and address.
        Vendor::Nvidia => {
            number(name.strip_prefix("ld.global.").or(name.strip_prefix("st.global."))?.rsplit('.').next()?)
        }
        // `load r0_r1, du2, r1, i32, xy, a`
        Vendor::Apple if *name == "load" || *name == "store" => {
            let mut last = operands.rsplit(", ").skip(1);
            let components = last.next()?.len() as u32;
            Some(components * number(last.next()?)?)
        }
        Vendor::Apple => None,
        // `isam.v.base0 (u32)(xyzw)r1.z, …`, `stib.b.untyped.1d.u32.4.imm.base0 …`
        Vendor::Qualcomm if name.starts_with("isam") => {
            let (kind, rest) = operands.strip_prefix('(')?.split_once(")(")?;
            Some(number(kind)? * rest.split_once(')')?.0.len() as u32)
        }
        Vendor::Qualcomm => {
            let mut parts = name.strip_prefix("stib.").or(name.strip_prefix("ldib."))?.split('.').skip(2);
            Some(parts.next().and(parts.next()).and_then(number)? * parts.next().and_then(number)?)
        }
    }
}

/// Widths for the table: `12 of 128, 1 of 32`.
pub fn widths(loads: &BTreeMap<u32, usize>) -> String {
    let all: Vec<_> = loads.iter().rev().map(|(bits, count)| format!("{count} of {bits}")).collect();
    if all.is_empty() { "–".into() } else { all.join(", ") }
}
