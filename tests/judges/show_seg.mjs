// Opens a segmentation over its series as a browser viewer does: cornerstone3D and its adapters.
// Fetches `case.json`, posts `{labels, images, error}` to `result`: label volumes and screenshots of the slices asked for.
import { adaptersSEG } from '@cornerstonejs/adapters';
import * as core from '@cornerstonejs/core';
import * as tools from '@cornerstonejs/tools';
import { data } from 'dcmjs';

const { DicomMessage, DicomMetaDictionary } = data;
const instances = new Map();
const numbers = (values) => [].concat(values).map(Number);
const fetched = async (name) => (await fetch(name)).arrayBuffer();

function modules(type, imageId) {
  const dataset = instances.get(imageId);
  if (!dataset) return undefined;
  const orientation = numbers(dataset.ImageOrientationPatient);
  const spacing = numbers(dataset.PixelSpacing);
  const isSigned = Number(dataset.PixelRepresentation) === 1;
  const of = {
    instance: () => dataset,
    generalSeriesModule: () => ({
      modality: dataset.Modality,
      seriesInstanceUID: dataset.SeriesInstanceUID,
      studyInstanceUID: dataset.StudyInstanceUID,
    }),
    generalImageModule: () => ({ sopInstanceUID: dataset.SOPInstanceUID }),
    sopCommonModule: () => ({ sopInstanceUID: dataset.SOPInstanceUID, sopClassUID: dataset.SOPClassUID }),
    modalityLutModule: () => ({
      rescaleSlope: Number(dataset.RescaleSlope ?? 1),
      rescaleIntercept: Number(dataset.RescaleIntercept ?? 0),
    }),
    voiLutModule: () => ({ windowCenter: [0], windowWidth: [400] }),
    imagePixelModule: () => ({
      samplesPerPixel: 1,
      photometricInterpretation: dataset.PhotometricInterpretation,
      rows: dataset.Rows,
      columns: dataset.Columns,
      bitsAllocated: dataset.BitsAllocated,
      bitsStored: dataset.BitsStored,
      highBit: dataset.HighBit,
      pixelRepresentation: isSigned ? 1 : 0,
    }),
    imagePlaneModule: () => ({
      frameOfReferenceUID: dataset.FrameOfReferenceUID,
      rows: dataset.Rows,
      columns: dataset.Columns,
      imageOrientationPatient: orientation,
      rowCosines: orientation.slice(0, 3),
      columnCosines: orientation.slice(3),
      imagePositionPatient: numbers(dataset.ImagePositionPatient),
      sliceThickness: Number(dataset.SliceThickness),
      pixelSpacing: spacing,
      rowPixelSpacing: spacing[0],
      columnPixelSpacing: spacing[1],
    }),
  };
  return of[type]?.();
}

async function addSlice(name) {
  const { dict } = DicomMessage.readFile(await fetched(name));
  const dataset = DicomMetaDictionary.naturalizeDataset(dict);
  instances.set(`slice:${name}`, dataset);
  return `slice:${name}`;
}

function loadSlice(imageId) {
  const dataset = instances.get(imageId);
  const raw = [].concat(dataset.PixelData)[0];
  const stored = dataset.PixelRepresentation ? new Int16Array(raw) : new Uint16Array(raw);
  const slope = Number(dataset.RescaleSlope ?? 1);
  const intercept = Number(dataset.RescaleIntercept ?? 0);
  const pixels = Float32Array.from(stored, (value) => value * slope + intercept);
  let [low, high] = [Infinity, -Infinity];
  for (const value of pixels) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const spacing = numbers(dataset.PixelSpacing);
  const voxelManager = core.utilities.VoxelManager.createImageVoxelManager({
    width: dataset.Columns,
    height: dataset.Rows,
    scalarData: pixels,
    numberOfComponents: 1,
  });
  const image = {
    imageId,
    dataType: 'Float32Array',
    numberOfComponents: 1,
    minPixelValue: low,
    maxPixelValue: high,
    slope: 1,
    intercept: 0,
    windowCenter: 0,
    windowWidth: 400,
    rows: dataset.Rows,
    columns: dataset.Columns,
    height: dataset.Rows,
    width: dataset.Columns,
    color: false,
    rgba: false,
    rowPixelSpacing: spacing[0],
    columnPixelSpacing: spacing[1],
    invert: false,
    sizeInBytes: pixels.byteLength,
    preScale: { enabled: true, scaled: true, scalingParameters: { rescaleSlope: slope, rescaleIntercept: intercept } },
    voxelManager,
    getPixelData: () => voxelManager.getScalarData(),
  };
  return { promise: Promise.resolve(image) };
}

function base64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

async function rendered(viewport, element) {
  const done = new Promise((resolve) => {
    element.addEventListener(core.Enums.Events.IMAGE_RENDERED, resolve, { once: true });
  });
  viewport.render();
  await done;
}

async function drawn(viewport, element) {
  await rendered(viewport, element);
  // The label map is handed to the GPU a moment after it is first asked for.
  await new Promise((resolve) => setTimeout(resolve, 300));
  await rendered(viewport, element);
  const canvas = viewport.getCanvas();
  const [width, height] = [element.clientWidth, element.clientHeight];
  return {
    png: canvas.toDataURL('image/png'),
    // Where the corners of the picture lie in the patient: upper left, upper right, lower left.
    corners: [[0, 0], [width, 0], [0, height]].map((point) => Array.from(viewport.canvasToWorld(point))),
  };
}

async function color(view, segmentationId, colors) {
  const type = tools.Enums.SegmentationRepresentations.Labelmap;
  await tools.segmentation.addSegmentationRepresentations(view, [{ segmentationId, type }]);
  const filled = { renderFill: true, renderFillInactive: true, fillAlpha: 1, fillAlphaInactive: 1 };
  tools.segmentation.config.style.setStyle({ type }, { ...filled, renderOutline: false, renderOutlineInactive: false });
  colors.forEach((rgb, index) => {
    tools.segmentation.config.color.setSegmentIndexColor(view, segmentationId, index + 1, [...rgb, 255]);
  });
}

// Slices as they are stored, then the volume that cornerstone makes of them in anatomical planes.
async function screenshots(name, imageIds, labelMapImages, job) {
  const element = document.getElementById('view');
  const properties = {
    voiRange: { lower: -200, upper: 200 },
    interpolationType: core.Enums.InterpolationType.NEAREST,
  };
  const engine = new core.RenderingEngine(name);
  labelMapImages.forEach((images, number) => {
    const data = { imageIds: images.map((image) => image.imageId) };
    const type = tools.Enums.SegmentationRepresentations.Labelmap;
    tools.segmentation.addSegmentations([{ segmentationId: `${name}-${number}`, representation: { type, data } }]);
  });
  const found = {};
  engine.enableElement({ viewportId: `${name}-stack`, element, type: core.Enums.ViewportType.STACK });
  for (const slice of job.slices) {
    const viewport = engine.getViewport(`${name}-stack`);
    await viewport.setStack(imageIds, slice);
    viewport.setProperties(properties);
    for (let number = 0; number < labelMapImages.length; number++) {
      if (slice === job.slices[0]) await color(`${name}-stack`, `${name}-${number}`, job.colors);
    }
    found[`slice ${slice}`] = await drawn(viewport, element);
  }
  engine.disableElement(`${name}-stack`);
  const volume = await core.volumeLoader.createAndCacheVolume(`${name}-series`, { imageIds });
  volume.load();
  for (const plane of job.planes) {
    const view = `${name}-${plane}`;
    const orientation = core.Enums.OrientationAxis[plane];
    const type = core.Enums.ViewportType.ORTHOGRAPHIC;
    engine.enableElement({ viewportId: view, element, type, defaultOptions: { orientation } });
    const viewport = engine.getViewport(view);
    await viewport.setVolumes([{ volumeId: `${name}-series` }]);
    viewport.setProperties(properties);
    for (let number = 0; number < labelMapImages.length; number++) await color(view, `${name}-${number}`, job.colors);
    found[plane] = await drawn(viewport, element);
    engine.disableElement(view);
  }
  engine.destroy();
  return found;
}

async function open() {
  const job = await (await fetch('case.json')).json();
  core.init();
  tools.init();
  core.metaData.addProvider(modules, 10000);
  core.imageLoader.registerImageLoader('slice', loadSlice);
  const imageIds = [];
  for (const name of job.series) imageIds.push(await addSlice(name));
  await Promise.all(imageIds.map((imageId) => core.imageLoader.loadAndCacheImage(imageId)));
  const answers = {};
  for (const name of job.segmentations) {
    try {
      const read = await adaptersSEG.Cornerstone3D.Segmentation.createFromDICOMSegBuffer(imageIds, await fetched(name), {
        metadataProvider: core.metaData,
      });
      answers[name] = {
        overlapping: read.overlappingSegments,
        names: read.segMetadata.data.filter(Boolean).map((segment) => segment.SegmentLabel),
        labels: read.labelMapImages.map((images) =>
          images.map((image) => base64(Uint8Array.from(image.voxelManager.getScalarData()))),
        ),
      };
      if (job.draw.includes(name)) answers[name].images = await screenshots(name, imageIds, read.labelMapImages, job);
    } catch (error) {
      answers[name] = { error: `${error.stack ?? error}` };
    }
  }
  return answers;
}

open()
  .catch((error) => ({ error: `${error.stack ?? error}` }))
  .then((answers) => fetch('result', { method: 'POST', body: JSON.stringify(answers) }));
