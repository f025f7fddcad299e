"""The retriever: finds stored documents and passages, and says where they are."""
