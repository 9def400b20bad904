// Where the outputs of a tile begin: its image, and the line and column in it. The including shader's Params have tiles_w and
// tiles_h, and OUTPUTS is the side of a tile.
struct Place {
    image: u32,
    y: u32,
    x: u32,
}

fn place(tile: u32) -> Place {
    let row = tile / params.tiles_w;
    return Place(row / params.tiles_h, row % params.tiles_h * {{ OUTPUTS }}u, tile % params.tiles_w * {{ OUTPUTS }}u);
}
