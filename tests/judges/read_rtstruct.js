// Reads an RT Structure Set with dcmjs and prints its contours by name of the structure, as JSON.
const fs = require('fs');
const dcmjs = require('dcmjs');

dcmjs.log.setLevel?.('error');
const { DicomMessage, DicomMetaDictionary } = dcmjs.data;
const file = fs.readFileSync(process.argv[2]);
const { dict } = DicomMessage.readFile(file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength));
const set = DicomMetaDictionary.naturalizeDataset(dict);
const several = (value) => (value === undefined ? [] : Array.isArray(value) ? value : Array.from([].concat(value)));
const names = new Map([...set.StructureSetROISequence].map((roi) => [Number(roi.ROINumber), roi.ROIName]));
const found = {};
for (const roi of [...set.ROIContourSequence]) {
  found[names.get(Number(roi.ReferencedROINumber))] = several(roi.ContourSequence).map((contour) => ({
    image: several(contour.ContourImageSequence)[0].ReferencedSOPInstanceUID,
    points: several(contour.ContourData).map(Number),
  }));
}
console.log(JSON.stringify(found));
