// Tensors as they travel: a shape, a dtype and little-endian numbers in base64.

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * Decodes a tensor.
 *
 * @param {{shape: number[], dtype: string, data: string}} wire - `dtype` is "float32", or "uint16"
 *   for numbers of [0, 1] in units of 1 / 65535.
 * @returns {{shape: number[], values: Float32Array}}
 */
export function decode({ shape, dtype, data }) {
  const bytes = bytesOf(data);
  const view = new DataView(bytes.buffer);
  const size = shape.reduce((product, side) => product * side, 1);
  const width = { float32: 4, uint16: 2 }[dtype];
  if (width === undefined) throw new Error(`Unknown dtype of a tensor: ${dtype}`);
  if (bytes.length !== size * width) {
    throw new Error(`A tensor of shape [${shape}] has ${size * width} bytes, not ${bytes.length}.`);
  }
  const values = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    values[i] = width === 4 ? view.getFloat32(4 * i, true) : view.getUint16(2 * i, true) / 65535;
  }
  return { shape: [...shape], values };
}

/** Returns the part of a tensor at some leading indices, which shares its numbers. */
export function slice(tensor, ...indices) {
  let { shape, values } = tensor;
  for (const index of indices) {
    if (!(index >= 0 && index < shape[0])) throw new Error(`No index ${index} in [${tensor.shape}].`);
    const rest = shape.slice(1);
    const size = rest.reduce((product, side) => product * side, 1);
    values = values.subarray(index * size, (index + 1) * size);
    shape = rest;
  }
  return { shape, values };
}

/** Returns the mean of several arrays of numbers. */
export function mean(arrays) {
  const total = new Float32Array(arrays[0].length);
  for (const values of arrays) {
    for (let i = 0; i < total.length; i += 1) total[i] += values[i] / arrays.length;
  }
  return total;
}
