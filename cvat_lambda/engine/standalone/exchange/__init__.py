"""Export and import of annotations as files: COCO, CVAT for images, YOLO."""
