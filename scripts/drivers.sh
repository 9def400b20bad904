# Software drivers other than the system's, for scripts that run programs on them: Mesa's llvmpipe of Debian 12, 13 and unstable, through
# Vulkan and OpenGL, and SwiftShader. To be sourced. Packages are unpacked into `drivers_folder`, which is target/drivers if not given.
. scripts/debian.sh
drivers_folder=${drivers_folder:-${CARGO_TARGET_DIR:-target}/drivers}
mkdir -p "$drivers_folder/logs"
drivers_folder=$(cd "$drivers_folder" && pwd)
# Most address space of a test, in KiB: a compiler that runs away must not take the machine with it.
most_memory=$((12 << 20))
# Longest time of a suite, in seconds.
most_time=3600

# The release of Debian that a driver comes from; its C library and its loaders run the tests, which may be older.
release() {
  case $1 in
    mesa-22*) echo bookworm ;;
    mesa-25*) echo trixie ;;
    mesa-26* | swiftshader) echo sid ;;
    *) echo "error: there is no driver $1" >&2; return 1 ;;
  esac
}

set_up() {
  local suite
  suite=$(release "$1")
  if [ ! -e "$drivers_folder/$suite" ]; then
    echo "Downloading Mesa's drivers of Debian $suite from $(debian_mirror)" >&2
    debian_unpack "$suite" "$drivers_folder/$suite" mesa-vulkan-drivers libvulkan1 libegl1 libegl-mesa0 libgl1-mesa-dri libgles2
  fi
  if [ "$1" = swiftshader ] && [ ! -e "$drivers_folder/swiftshader" ]; then
    echo "Downloading SwiftShader of Debian $suite from $(debian_mirror)" >&2
    debian_unpack_some "$suite" "$drivers_folder/swiftshader" chromium-common '*swiftshader*'
  fi
}

# Runs a program with a driver.
# usage: with_driver NAME PROGRAM [ARGUMENT…]
with_driver() {
  local name=$1 root libraries loader manifest backend=vulkan
  shift
  root=$drivers_folder/$(release "$name")
  libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  loader=$(find "$root/lib/x86_64-linux-gnu" "$root/usr/lib/x86_64-linux-gnu" -name ld-linux-x86-64.so.2 2>/dev/null | head -1 || true)
  # The packages' own manifests may name the library where it would be installed.
  manifest=$drivers_folder/logs/$name.json
  local library=$root/usr/lib/x86_64-linux-gnu/libvulkan_lvp.so
  case $name in
    *-opengl) backend=gl ;;
    swiftshader) library=$drivers_folder/swiftshader/usr/lib/chromium/libvk_swiftshader.so ;;
  esac
  printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}' "$library" > "$manifest"
  (
    ulimit -v "$most_memory"
    # Older loaders know the second name of the variable.
    exec env WGPU_BACKEND=$backend VK_DRIVER_FILES="$manifest" VK_ICD_FILENAMES="$manifest" \
      __EGL_VENDOR_LIBRARY_DIRS="$root/usr/share/glvnd/egl_vendor.d" LIBGL_DRIVERS_PATH="$root/usr/lib/x86_64-linux-gnu/dri" \
      LIBGL_ALWAYS_SOFTWARE=1 GALLIUM_DRIVER=llvmpipe EGL_PLATFORM=surfaceless MESA_SHADER_CACHE_DISABLE=true \
      timeout "$most_time" "$loader" --library-path "$libraries" "$@"
  )
}
