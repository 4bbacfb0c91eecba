// Reads a DICOM segmentation with dcmjs and prints what each frame holds, as JSON.
const crypto = require('crypto');
const fs = require('fs');
const dcmjs = require('dcmjs');

dcmjs.log.setLevel?.('error');
const { DicomMessage, DicomMetaDictionary, BitArray } = dcmjs.data;
const file = fs.readFileSync(process.argv[2]);
const { dict } = DicomMessage.readFile(file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength));
const seg = DicomMetaDictionary.naturalizeDataset(dict);
const raw = Array.isArray(seg.PixelData) ? seg.PixelData[0] : seg.PixelData;
const pixels = seg.BitsAllocated === 1 ? BitArray.unpack(raw).map((value) => Number(value > 0)) : new Uint8Array(raw);
const size = seg.Rows * seg.Columns;
const first = (value) => (Array.isArray(value) ? value[0] : value);
const groups = [].concat(seg.PerFrameFunctionalGroupsSequence);
const shared = first(seg.SharedFunctionalGroupsSequence);
const frames = groups.map((group, index) => {
  const id = first(group.SegmentIdentificationSequence ?? shared.SegmentIdentificationSequence);
  const source = first(first(group.DerivationImageSequence).SourceImageSequence);
  const frame = Buffer.from(pixels.slice(index * size, (index + 1) * size));
  return {
    segment: id ? Number(id.ReferencedSegmentNumber) : 0,
    source: source.ReferencedSOPInstanceUID,
    sha256: crypto.createHash('sha256').update(frame).digest('hex'),
  };
});
console.log(JSON.stringify({ type: seg.SegmentationType, frames }));
