// Threefry-2x32 with 20 rounds: a counter-based generator that needs no multiplication (Salmon et al., "Parallel Random
// Numbers: As Easy as 1, 2, 3", 2011). CPU twin: `ops::random::threefry`.
fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let schedule = array<u32, 3>(key.x, key.y, 0x1bd11bdau ^ key.x ^ key.y);
    var x = counter + key;
{% set rotations = [13, 15, 26, 6, 17, 29, 16, 24] %}
{% for round in range(20) %}
    x.x += x.y;
    x.y = ((x.y << {{ rotations[round % 8] }}u) | (x.y >> {{ 32 - rotations[round % 8] }}u)) ^ x.x;
{% if round % 4 == 3 %}
{% set s = (round + 1) // 4 %}
    x += vec2<u32>(schedule[{{ s % 3 }}], schedule[{{ (s + 1) % 3 }}] + {{ s }}u);
{% endif %}
{% endfor %}
    return x;
}
