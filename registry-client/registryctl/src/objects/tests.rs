//! Uploads whose end is answered with an error.

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, UploadPart,
};

use super::*;

/// A store that answers the end of an upload with an error, whether it has carried it out or not.
#[derive(Debug)]
struct Unsure {
    objects: InMemory,
    carries_out: bool,
}

impl std::fmt::Display for Unsure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unsure")
    }
}

#[derive(Debug)]
struct UnsureUpload {
    upload: Box<dyn MultipartUpload>,
    carries_out: bool,
}

#[async_trait]
impl MultipartUpload for UnsureUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.carries_out {
            self.upload.complete().await?;
        }
        Err(object_store::Error::Generic { store: "unsure", source: "500 Internal Server Error".into() })
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Unsure {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.objects.put_multipart_opts(path, options).await?;
        Ok(Box::new(UnsureUpload { upload, carries_out: self.carries_out }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// More than goes into one request.
const SIZE: usize = 11 << 20;

async fn upload(carries_out: bool, before: Option<Vec<u8>>) -> io::Result<()> {
    let objects: Arc<dyn ObjectStore> = Arc::new(Unsure { objects: InMemory::new(), carries_out });
    let path = Path::from("backup");
    if let Some(before) = before {
        objects.put(&path, before.into()).await?;
    }
    let bytes = vec![7; SIZE];
    let mut upload = Upload::new(objects, path);
    upload.write_all(&bytes).await?;
    // As the client does when all is written.
    upload.shutdown().await?;
    upload.finish(&hex(&Sha256::digest(&bytes))).await
}

#[tokio::test]
async fn an_upload_that_was_carried_out_and_answered_with_an_error_is_found_to_be_there() {
    upload(true, None).await.unwrap();
    for before in [None, Some(vec![8; SIZE]), Some(Vec::new())] {
        let error = upload(false, before).await.unwrap_err();
        assert!(error.to_string().contains("500"), "{error}");
    }
}
