// Formats of pictures that the library's build for browsers leaves to the browser, such as WebP, GIF, BMP and AVIF.

const isLibrarys = (bytes) => (bytes[0] === 0x89 && bytes[1] === 0x50) || (bytes[0] === 0xff && bytes[1] === 0xd8);

/** A picture's file; as PNG if it is neither that nor JPEG, and the browser can read it. */
export async function asLibrarys(bytes) {
  if (isLibrarys(bytes)) return bytes;
  let picture;
  try {
    picture = await createImageBitmap(new Blob([bytes]));
  } catch {
    // The library says what is wrong with it.
    return bytes;
  }
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  return new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
}

/** The same of a set's files, which are pictures by their names. */
export async function filesAsLibrarys(files) {
  for (const file of files) {
    if (/\.(avif|bmp|gif|heic|heif|jxl|webp)$/i.test(file.name)) file.bytes = await asLibrarys(file.bytes);
  }
  return files;
}
