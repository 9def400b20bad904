//! What AMD assembly tells: the innermost loop's share of multiply-adds, and how wide loads are.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

/// What the assembly of a kernel shows.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assembly {
    /// Of the innermost loop with the most multiply-adds: how many, and of how many instructions; `None` without loops.
    pub multiply_adds: Option<(usize, usize)>,
    /// Loads from buffers a lane: bits wide, how many in the whole shader.
    pub global_loads: BTreeMap<u32, usize>,
    /// Loads from buffers that all lanes share: bits wide, how many.
    pub scalar_loads: BTreeMap<u32, usize>,
    /// Loads from workgroup memory: bits wide, how many.
    pub workgroup_loads: BTreeMap<u32, usize>,
}

impl Assembly {
    /// Reads the driver's text, one instruction or label a line.
    pub fn parse(text: &str) -> Self {
        let mut parsed = Assembly::default();
        // Instructions so far, where labels stand among them, and for each loop's start its end.
        let mut instructions: Vec<&str> = Vec::new();
        let mut labels = HashMap::new();
        let mut loops: BTreeMap<usize, usize> = BTreeMap::new();
        for line in text.lines() {
            let line = line.split(';').next().unwrap_or_default().trim();
            if let Some(label) = line.strip_suffix(':') {
                labels.insert(label, instructions.len());
                continue;
            }
            // Two operations in one instruction are written with a double colon between them.
            for operation in line.split(" :: ") {
                let Some(name) = operation.split_whitespace().next() else { continue };
                instructions.push(name);
                parsed.count_load(name);
                if name.starts_with("s_branch") || name.starts_with("s_cbranch") {
                    let target = operation.split_whitespace().last().and_then(|target| labels.get(target));
                    if let Some(&start) = target {
                        loops.insert(start, instructions.len());
                    }
                }
            }
        }
        parsed.multiply_adds = loops
            .iter()
            .filter(|&(&start, &end)| !loops.range(start + 1..end).any(|(_, &inner_end)| inner_end <= end))
            .map(|(&start, &end)| {
                let body = &instructions[start..end];
                (body.iter().filter(|name| is_multiply_add(name)).count(), body.len())
            })
            .max();
        parsed
    }

    fn count_load(&mut self, name: &str) {
        let loads = if name.starts_with("s_buffer_load_") {
            &mut self.scalar_loads
        } else if name.starts_with("buffer_load_") || name.starts_with("global_load_") {
            &mut self.global_loads
        } else if name.starts_with("ds_load_") || name.starts_with("ds_read") {
            &mut self.workgroup_loads
        } else {
            return;
        };
        *loads.entry(bits(name)).or_default() += 1;
    }
}

fn is_multiply_add(name: &str) -> bool {
    ["v_fma", "v_pk_fma", "v_dual_fma", "v_mac_f", "v_mad_f", "v_mad_mix", "v_dot", "v_wmma"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Width of a load from its name: `buffer_load_dwordx4`, `global_load_b128`, `ds_read2_b32`, `ds_load_2addr_b64`.
fn bits(name: &str) -> u32 {
    let last = name.trim_end_matches("_e32").trim_end_matches("_e64").rsplit('_').next().unwrap_or_default();
    // Two addresses, one instruction.
    let times = if name.contains("read2") || name.contains("2addr") { 2 } else { 1 };
    let number = |text: &str| text.parse::<u32>().ok();
    let width = match last {
        "dword" => Some(32),
        "ubyte" | "sbyte" => Some(8),
        "ushort" | "sshort" | "short" | "hi" => Some(16),
        _ => match last.strip_prefix("dwordx") {
            Some(words) => number(words).map(|words| 32 * words),
            None => number(last.trim_start_matches(|c: char| c.is_ascii_alphabetic())),
        },
    };
    times * width.unwrap_or(0)
}

/// Widths for the table: `12 of 128, 1 of 32`.
pub fn widths(loads: &BTreeMap<u32, usize>) -> String {
    let all: Vec<_> = loads.iter().rev().map(|(bits, count)| format!("{count} of {bits}")).collect();
    if all.is_empty() { "–".into() } else { all.join(", ") }
}
