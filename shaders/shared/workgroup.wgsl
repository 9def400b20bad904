// Workgroups are numbered through both dimensions of the grid: one dimension holds only 65,535 of them.
fn linear_workgroup(group: vec3<u32>, grid: vec3<u32>) -> u32 {
    return group.y * grid.x + group.x;
}
